"""A LLaVA and its processor from the hub, a folder, or built on the spot, quantised where that is asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from retinai.encoders.transformers_files import read_part
from retinai.errors import MissingExtraError, UserError
from retinai.files import UnreadableError
from retinai.llava.adapters import PROJECTOR
from retinai.llava.fingerprint import fingerprint
from retinai.llava.processor import check_processor
from retinai.llava.settings import LlavaSettings

# From this many billion parameters on a CPU takes hours for what a GPU does in minutes.
_LARGE = 1.0
# What is not quantised: the output layer decides between tokens, and the vision side is small.
_UNQUANTISED = ["lm_head", "model.vision_tower", f"model.{PROJECTOR}"]  # matched from the start of a name


@dataclass
class LoadedLlava:
    """A LLaVA as it was loaded, before anything is tuned.

    Args:
        model: `LlavaForConditionalGeneration`, frozen weights in 4 bits if that was asked for.
        processor: `LlavaProcessor`, checked against the model.
        fingerprint: SHA-256 of a sample of the values in its files, to tell two networks apart.
    """

    model: Any
    processor: Any
    fingerprint: str


def require_llava_packages() -> None:
    """Check that what the `llava` extra brings is there.

    Raises:
        MissingExtraError: Names the first missing package and the pip line.
    """
    import importlib.util

    for package in ("transformers", "peft", "bitsandbytes", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "llava")


def check_machine(settings: LlavaSettings) -> None:
    """Check before any data is read that packages and, for a large network, a GPU are there.

    Raises:
        MissingExtraError: If the `llava` extra is not installed.
        UserError: If the network needs a GPU that is not here.
    """
    require_llava_packages()
    _require_gpu(settings, settings.billions or 0.0)


def load_llava(settings: LlavaSettings, *, four_bits: bool) -> LoadedLlava:
    """Load a LLaVA with its processor and check that they fit each other.

    Args:
        settings: Which one.
        four_bits: Keep the language model's layers in 4 bits (NF4, double quantisation).

    Raises:
        MissingExtraError: If the `llava` extra is not installed.
        UserError: If there is no such model, or it needs a GPU that is not here.
        ConfigError: If processor and network do not fit.
    """
    check_machine(settings)
    quiet_transformers()
    if settings.is_assembled:
        return _assembled(settings, four_bits)
    with _folder_of(settings) as source:
        config = _read_config(source, settings)
        _require_gpu(settings, _billions(config))
        processor = _read(source, settings, "AutoProcessor", "processor")
        check_processor(processor, config, settings)
        model = _read_model(source, settings, config, four_bits)
        return LoadedLlava(model, processor, fingerprint(source, settings.revision))


def _assembled(settings: LlavaSettings, four_bits: bool) -> LoadedLlava:
    """Return a LLaVA that is put together of a language model and an encoder."""
    from retinai.llava.assembly import assemble

    model, processor, parts = assemble(settings, four_bits=four_bits)
    check_processor(processor, model.config, settings)
    _keep_weights_as_they_are(model)
    model.config.use_cache = False
    return LoadedLlava(model, processor, parts)


def quantisation(dtype: torch.dtype) -> Any:
    """Return the quantisation of QLoRA: NF4 with double quantisation, computing in `dtype`."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(_UNQUANTISED),  # the default list is dropped when one is given
    )


@contextmanager
def _folder_of(settings: LlavaSettings) -> Iterator[str]:
    """Give the folder or hub name to load from; the tiny network lives as long as it is read."""
    if not settings.is_tiny:
        folder = Path(settings.weights).expanduser()
        yield str(folder) if folder.is_dir() else settings.weights
        return
    from retinai.llava.tiny import write_tiny_llava

    with tempfile.TemporaryDirectory(prefix="llava_tiny_") as folder_name:
        yield str(write_tiny_llava(folder_name))


def _read_config(source: str, settings: LlavaSettings) -> Any:
    config = _read(source, settings, "AutoConfig", "configuration")
    if config.model_type != "llava":
        raise UserError(
            f"backbone.weights={settings.weights} is of type {config.model_type!r}, not LLaVA; "
            "give a LLaVA-1.5 in the format of transformers, such as llava-hf/llava-1.5-7b-hf"
        )
    return config


def _read(source: str, settings: LlavaSettings, loader: str, what: str, **options: Any) -> Any:
    try:
        return read_part(loader, source, revision=settings.revision or "main", **options)
    except UnreadableError as error:
        raise UserError(
            f"the {what} of backbone.weights={settings.weights} cannot be loaded: {error.reason}; give a hub name that "
            "can be reached, or a local folder with config.json, weights, tokenizer and processor files"
        ) from error


def _read_model(source: str, settings: LlavaSettings, config: Any, four_bits: bool) -> Any:
    dtype = getattr(torch, settings.dtype)
    device = f"cuda:{_local_rank()}" if torch.cuda.is_available() else "cpu"
    options: dict[str, Any] = {"dtype": dtype, "device_map": {"": device}, "attn_implementation": "sdpa"}
    if four_bits:
        options["quantization_config"] = quantisation(dtype)
    model = _read(source, settings, "LlavaForConditionalGeneration", "network", config=config, **options)
    _keep_weights_as_they_are(model)
    model.config.use_cache = False  # training; grading and generation ask for it
    return model


def _local_rank() -> str:
    """Return the number of this process on its machine, as Lightning or SLURM's `srun` tells it; 0 for a single one."""
    return os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"


def _keep_weights_as_they_are(model: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit weights on a CPU with AVX512-BF16 when they are first used in evaluation.

    The repacking rounds the scales of the weights, so a run would go on with another base network after each
    validation than a resumed one has; and no gradient passes through repacked weights.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _billions(config: Any) -> float:
    """Return the parameters of the language model's layers, in billions."""
    text = config.text_config
    return text.num_hidden_layers * text.hidden_size * (4 * text.hidden_size + 3 * text.intermediate_size) / 1e9


def _require_gpu(settings: LlavaSettings, billions: float) -> None:
    """Refuse a large network on a CPU before gigabytes are read."""
    if billions < _LARGE or torch.cuda.is_available():
        return
    raise UserError(
        f"backbone={settings.name} has about {billions:.0f} billion parameters and needs a CUDA GPU with some 12 GiB "
        "of memory (4 bits, batch 1), and PyTorch sees none here; on a CPU use backbone=llava_tiny"
    )


def quiet_transformers() -> None:
    """Keep progress bars and hints of transformers and bitsandbytes off the terminal; errors still show."""
    import logging

    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
