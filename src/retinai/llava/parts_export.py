"""`format=hf` of a LLaVA that is put together of parts: each part as the library loads it that it comes from.

Plain transformers has no class for such a vision tower, so the folder is none that `LlavaForConditionalGeneration`
loads; the card says so and has the thirty lines of timm, torch and transformers that put the parts together.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from retinai.errors import UserError
from retinai.files import write_json, write_text

if TYPE_CHECKING:
    from retinai.llava.module import LlavaGrader
    from retinai.llava.network import LlavaNetwork
    from retinai.llava.tower import EncoderTower

CODE = """\
import json, timm, torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional
from torchvision.transforms.functional import normalize, to_tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

parts = json.load(open(f"{FOLDER}/parts.json"))
tokenizer = AutoTokenizer.from_pretrained(f"{FOLDER}/language_model")
language = AutoModelForCausalLM.from_pretrained(f"{FOLDER}/language_model", dtype=torch.float32).eval()
tower = timm.create_model(parts["architecture"], num_classes=0, **parts["arguments"]).eval()
tower.load_state_dict(load_file(f"{FOLDER}/tower.safetensors"))
projector = load_file(f"{FOLDER}/projector.safetensors")


def tokens(photograph):  # a PIL image as "preprocessing" in grading.json says
    pixels = normalize(to_tensor(photograph), parts["mean"], parts["std"])[None]
    features = tower.forward_features(pixels)
    if parts["prefix_tokens"] is not None:  # tokens of a transformer to a map
        features = features[:, parts["prefix_tokens"]:].transpose(1, 2).unflatten(2, parts["grid"])
    elif parts["channels_last"]:
        features = features.permute(0, 3, 1, 2)
    cells = functional.adaptive_avg_pool2d(features, parts["side"]).flatten(2).transpose(1, 2)
    cells = functional.layer_norm(cells, cells.shape[-1:])
    hidden = functional.gelu(functional.linear(cells, projector["linear_1.weight"], projector["linear_1.bias"]))
    return functional.linear(hidden, projector["linear_2.weight"], projector["linear_2.bias"])


def embed(text, photograph):
    marks = parts["image_token"] * parts["side"] ** 2
    ids = tokenizer(text.replace(parts["image_token"], marks), return_tensors="pt")["input_ids"]
    embedded, seen = language.get_input_embeddings()(ids), tokens(photograph)
    embedded[ids == tokenizer.convert_tokens_to_ids(parts["image_token"])] = seen[0]
    return ids, embedded"""


def write_parts(module: LlavaGrader, network: LlavaNetwork, folder: Path) -> None:
    """Write language model (adapters merged), projector and tower of a LLaVA that is put together.

    Args:
        module: The grader, for the card.
        network: Its network, not quantised; its adapters are merged.
        folder: Where to.

    Raises:
        UserError: If the tower is no network that timm builds from its name.
    """
    from safetensors.torch import save_file

    tower = network.tower
    values = _tower_values(tower)
    model = network.model.merge_and_unload() if network.tuning.has_adapters else network.model
    _language_model(model).save_pretrained(folder / "language_model")
    network.processor.tokenizer.save_pretrained(folder / "language_model")
    projector = {
        key: value.float().contiguous() for key, value in model.model.multi_modal_projector.state_dict().items()
    }
    save_file(projector, str(folder / "projector.safetensors"))
    weights = {key: value.contiguous() for key, value in tower.encoder.net.state_dict().items()}
    save_file(weights, str(folder / "tower.safetensors"))
    settings = network.settings
    seen = {"mean": list(settings.mean), "std": list(settings.std), "input_size": settings.input_size}
    write_json(folder / "parts.json", {**values, **seen, "image_token": network.processor.image_token})
    write_text(folder / "README.md", _card(module))


def _language_model(model: Any) -> Any:
    """Return the language model with its output layer as transformers saves it."""
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        whole = LlamaForCausalLM(model.config.text_config)
    whole.model, whole.lm_head = model.model.language_model, model.lm_head
    return whole


def _tower_values(tower: EncoderTower) -> dict[str, Any]:
    """Return what timm needs to build the tower, once it is seen that it computes the same.

    Raises:
        UserError: If it does not.
    """
    import timm

    encoder: Any = tower.encoder
    size = encoder.preprocessing.input_size
    values: dict[str, Any] = {
        "architecture": getattr(encoder, "architecture", ""),
        "arguments": {"img_size": size} if encoder.tokens else {},
        "side": tower.side,
        "prefix_tokens": encoder.net.num_prefix_tokens if encoder.tokens else None,
        "grid": list(encoder.grid_size) if encoder.tokens else None,
        "channels_last": str(getattr(encoder.net, "output_fmt", "NCHW")).endswith("NHWC"),
    }
    image = torch.rand(1, 3, size, size)
    with torch.no_grad():
        try:
            net: Any = timm.create_model(values["architecture"], num_classes=0, **values["arguments"]).eval()
            net.load_state_dict(encoder.net.state_dict())
            same = torch.allclose(net.forward_features(image), encoder.net.forward_features(image), atol=1e-4)
        except (RuntimeError, TypeError):
            same = False
    if not same:
        raise UserError(
            f"the vision tower {encoder.name} is not what timm builds by its name alone (backbone.arguments, or "
            "another kind of encoder), so it could not be loaded without retinai; use retinai evaluate and predict"
        )
    return values


def _card(module: LlavaGrader) -> str:
    texts = "\n".join(f"- {text}" for text in module.asking.texts())
    settings = module.network.settings
    trained_on = (module.data_config or {}).get("name", "unknown data")
    return f"""# A small LLaVA that reads fundus photographs ({module.task.name})

Trained by retinai on {trained_on}. Research software: no medical device, not for diagnosis.

**transformers' `LlavaForConditionalGeneration` cannot load this folder**: the vision tower ({settings.vision}) is an
encoder of retinai, for which transformers has no class. What is here: `language_model/` (adapters merged;
`AutoModelForCausalLM` loads it), `tower.safetensors` (timm loads it), `projector.safetensors` (two linear layers), and
`parts.json`, which says how they fit. This puts them together:
```python
{CODE}
```
`grading.json` has the prompt and the texts below. The score of a text is the log-likelihood of its tokens after the
prompt; the softmax of the grades' scores is their probability (labels: the sigmoid of log p(Yes) - log p(No)).
{texts}

## Licence
Language model and tower keep their own licences; the data set's terms apply to what was learnt from it.
"""
