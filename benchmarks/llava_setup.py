"""The two shapes of LLaVA that are measured, and photographs with conversations to measure them on."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from retinai.data.loading.dataset import FundusDataset
from retinai.data.loading.loader import EpochLoader, make_loader
from retinai.llava.module import LlavaGrader
from retinai.llava.tiny import write_tiny_llava

BACKBONES = {"tiny": "llava_tiny", "7b": "llava_1_5_7b"}
_SHARD = 1 << 30  # bytes of a weights file, and of host memory that writing takes


@dataclass
class Setup:
    """A LLaVA and what it is measured on.

    Args:
        shape: `tiny` or `7b`.
        folder: The network in the format of `save_pretrained`.
        module: Ours, built from that folder.
        data: Photographs with conversations, prepared.
        loader: The same one at a time, always in the same order.
        turns: (question, answer) per id.
        accumulate: Photographs per step of the optimiser.
    """

    shape: str
    folder: Path
    module: LlavaGrader
    data: FundusDataset
    loader: EpochLoader
    turns: dict[str, tuple[str, str]]
    accumulate: int


def prepare(shape: str, folder: Path, photographs: int, accumulate: int) -> Setup:
    """Build a LLaVA with random weights and a synthetic cohort with lesion masks for it.

    Args:
        shape: `tiny` or `7b`.
        folder: Where network and photographs are written.
        photographs: How many.
        accumulate: Photographs per step of the optimiser.
    """
    from retinai.config.compose import compose
    from retinai.run import factories as assemble

    network = folder / "network"
    write_shape(network, published_config()) if shape == "7b" else write_tiny_llava(network)
    words = [
        "model=llava", f"backbone={BACKBONES[shape]}", f"backbone.weights={network}", "data=llava_jsonl",
        f"data.jsonl={write_conversations(folder, photographs)}", "augment=none", f"paths.cache={folder / 'cache'}",
        f"trainer.accumulate_grad_batches={accumulate}",
    ]  # fmt: skip
    cfg = compose("train", words)
    datamodule = assemble.make_datamodule(cfg)
    datamodule.setup()
    module: Any = assemble.make_module(cfg, datamodule)
    fields = datamodule.fields
    table = datamodule.table.head(photographs)
    cache = datamodule.dataset("train").cache
    dataset = FundusDataset(table, datamodule.preprocessing, cache=cache, fields=fields)
    if cache is None:
        raise RuntimeError("the datamodule prepares no photographs, so the loader would be measured decoding originals")
    cache.prepare(table["path"].tolist(), workers=0, progress=None)
    loader = make_loader(dataset, datamodule.task, batch_size=1, num_workers=0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    turns: Any = next(getattr(field, "turns", None) for field in fields if field.name == "conversation")
    return Setup(shape, network, module.to(device), dataset, loader, turns, accumulate)


def write_conversations(folder: Path, photographs: int) -> Path:
    """Write a synthetic cohort in IDRiD's layout and its conversations; return the file of the latter."""
    from retinai.commands.prepare import run
    from retinai.config.compose import compose
    from retinai.synthetic.cohort import write_cohort

    write_cohort(folder / "idrid", "idrid", max(photographs, 25), size=512, seed=0, workers=1, progress=False)
    out = folder / "conversations.jsonl"
    words = [f"data.root={folder / 'idrid'}", f"out={out}", f"paths.cache={folder / 'cache'}"]
    with contextlib.redirect_stdout(io.StringIO()):
        run(compose("prepare", ["data=idrid", "format=llava_jsonl", "data.near_duplicates=false", *words]))
    return out


def published_config() -> Any:
    """Return the configuration of `llava-hf/llava-1.5-7b-hf`: CLIP-L/14 at 336 pixels and Vicuna 7B."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=336, patch_size=14, projection_dim=768,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=32064, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=32, max_position_embeddings=4096, rms_norm_eps=1e-5, tie_word_embeddings=False,
    )  # fmt: skip
    return LlavaConfig(
        vision_config=vision, text_config=text, vision_feature_layer=-2, vision_feature_select_strategy="default",
        image_seq_length=576,
    )  # fmt: skip


def write_shape(folder: Path, config: Any, shard: int = _SHARD) -> Path:
    """Write a LLaVA of a given shape with random weights in bfloat16, and the tokenizer of the tiny one.

    Weights are drawn tensor by tensor, so that memory holds a shard at a time.

    Args:
        folder: Where to.
        config: Its `LlavaConfig`; the tokens are set to those of the tokenizer.
        shard: Bytes of a weights file.

    Returns:
        The folder.
    """
    from transformers import AutoProcessor, GenerationConfig, LlavaForConditionalGeneration

    write_tiny_llava(folder)  # for tokenizer, chat template and image processor
    (folder / "model.safetensors").unlink()
    processor = AutoProcessor.from_pretrained(folder)
    side = config.vision_config.image_size
    processor.image_processor.size = {"shortest_edge": side}
    processor.image_processor.crop_size = {"height": side, "width": side}
    processor.patch_size = config.vision_config.patch_size
    processor.save_pretrained(folder)
    tokenizer = processor.tokenizer
    tokens = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    for key, value in tokens.items():
        setattr(config.text_config, key, value)
    config.image_token_index = config.image_token_id = processor.image_token_id
    config.architectures, config.dtype = ["LlavaForConditionalGeneration"], torch.bfloat16
    config.save_pretrained(folder)
    GenerationConfig(**tokens).save_pretrained(folder)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in LlavaForConditionalGeneration(config).state_dict().items()}
    _write_weights(folder, shapes, shard)
    return folder


def _write_weights(folder: Path, shapes: dict[str, torch.Size], shard: int) -> None:
    """Write the weights in shards, with the index that `from_pretrained` reads."""
    places: dict[str, str] = {}
    for number, part in enumerate(_shards(shapes, shard)):
        name = f"model-{number:05d}.safetensors"
        save_file({key: _draw(key, shape) for key, shape in part.items()}, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": sum(2 * s.numel() for s in shapes.values())}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _shards(shapes: dict[str, torch.Size], shard: int) -> Iterator[dict[str, torch.Size]]:
    part: dict[str, torch.Size] = {}
    for key, shape in shapes.items():
        if part and 2 * sum(s.numel() for s in [*part.values(), shape]) > shard:
            yield part
            part = {}
        part[key] = shape
    yield part


def _draw(name: str, shape: torch.Size) -> Tensor:
    """Return a tensor of a start network: norms are one, biases zero, all else narrow and normal."""
    if name.endswith("bias"):
        return torch.zeros(shape, dtype=torch.bfloat16)
    if "norm" in name or "layrnorm" in name:
        return torch.ones(shape, dtype=torch.bfloat16)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return (0.02 * torch.randn(shape, device=device, dtype=torch.bfloat16)).cpu()
