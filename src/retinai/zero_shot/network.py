"""A network of an image tower and a text tower that were trained together (CLIP, SigLIP), through transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retinai.encoders.transformers_files import read_part
from retinai.errors import ConfigError, UserError
from retinai.files import UnreadableError

# Backbones of `conf/backbone` whose published weights have a text tower, by their names on the Hugging Face hub.
PUBLISHED = {
    "openclip_vit_b16": "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
    "openclip_vit_l14": "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
    "openclip_vit_g14": "laion/CLIP-ViT-g-14-laion2B-s12B-b42K",
}
_KINDS = ("clip", "siglip")
_PARTS = {"AutoConfig": "config.json", "AutoModel": "the network", "AutoTokenizer": "the tokenizer"}
_PROCESSOR = "preprocessor_config.json"


class ImageTextNetwork(nn.Module):
    """Compares photographs with sentences.

    A class is the mean of the unit vectors of its sentences, brought to length 1; the logit of a photograph is the
    cosine between it and the class, times the network's own scale.

    Args:
        section: The `backbone` section: `weights` is `pretrained`, a folder or a name on the hub, in the format of
            transformers; size, mean and std are those of the network.
        sentences: The sentences of each of C classes.

    Attributes:
        source: Where the weights came from.

    Raises:
        MissingExtraError: If transformers is not installed.
        UserError: If the network cannot be loaded, or has no text tower.
        ConfigError: If size, mean or std are not those of the network, or a sentence is too long for it.

    Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
        section 3.1.4 (the mean over prompts).
    """

    classes: Tensor

    def __init__(self, section: Mapping[str, Any], sentences: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.source = _source(section)
        config = _read("AutoConfig", self.source)
        if config.model_type not in _KINDS:
            raise UserError(
                f"backbone.weights={self.source} is of type {config.model_type!r} and has no text tower that retinai "
                f"knows; give a network of type {' or '.join(_KINDS)} in the format of transformers"
            )
        _check_input(section, config, self.source)
        self.model: Any = _read("AutoModel", self.source).requires_grad_(False).eval()
        self._whole_length = config.model_type == "siglip"  # its texts were filled up to the longest in training
        self.longest = _whole(config.text_config, "max_position_embeddings", self.source)
        self.tokenizer = _read("AutoTokenizer", self.source)
        with torch.no_grad():
            classes = torch.stack([self.text_vectors(texts).mean(dim=0) for texts in sentences])
        self.register_buffer("classes", functional.normalize(classes, dim=1))

    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        """Return a vector of length 1 for each of T texts, (T, D).

        Raises:
            ConfigError: If a text has more tokens than the network reads.
        """
        for text in texts:
            count = len(self.tokenizer(text)["input_ids"])
            if count > self.longest:
                raise ConfigError(
                    [f"prompts: {text[:60]!r}... has {count} tokens, and {self.source} reads {self.longest}; shorten "
                     "it in prompts.templates= or prompts.classes.CLASS="]
                )  # fmt: skip
        padding = {"padding": "max_length", "max_length": self.longest} if self._whole_length else {"padding": True}
        tokens = self.tokenizer(list(texts), return_tensors="pt", **padding)
        return functional.normalize(self.model.get_text_features(**tokens).pooler_output, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the classes, (B, C), of normalised photographs (B, 3, S, S)."""
        seen = functional.normalize(self.model.get_image_features(pixel_values=images).pooler_output, dim=1)
        logits: Tensor = seen @ self.classes.T * self.model.logit_scale.exp()
        return logits


def _source(section: Mapping[str, Any]) -> str:
    name, weights = str(section.get("name")), str(section.get("weights"))
    if weights not in ("pretrained", "package", "none"):
        return weights
    if weights != "pretrained" or name not in PUBLISHED:
        raise UserError(
            f"backbone={name} backbone.weights={weights} has no text tower to read prompts with; choose backbone="
            f"{', '.join(PUBLISHED)} with their published weights, or give backbone.weights=FOLDER of a CLIP or SigLIP "
            "in the format of transformers"
        )
    return PUBLISHED[name]


def _read(loader: str, source: str) -> Any:
    try:
        return read_part(loader, source)
    except UnreadableError as error:
        raise _unusable(source, f"{_PARTS[loader]}: {error.reason}") from error


def _unusable(source: str, reason: str) -> UserError:
    return UserError(
        f"backbone.weights={source} cannot be loaded: {reason}; give a name on the hub that can be reached, or a "
        "folder with config.json, weights and tokenizer of a CLIP or SigLIP"
    )


def _check_input(section: Mapping[str, Any], config: Any, source: str) -> None:
    """Refuse photographs in another form than the network was trained with."""
    side, problems = _whole(config.vision_config, "image_size", source), []
    if int(section["input_size"]) != side:
        problems.append(f"backbone.input_size={section['input_size']}, but {source} sees {side} pixels; set "
                        f"backbone.input_size={side}")  # fmt: skip
    # Of published networks the configuration holds what OpenCLIP says, who trained them.
    own = {} if source in PUBLISHED.values() else _image_settings(source)
    for key in ("mean", "std"):
        theirs = own.get(f"image_{key}")
        if theirs is not None and not _are_three_numbers(theirs):
            raise _unusable(source, f"{_PROCESSOR} says image_{key}={str(theirs)[:80]}, which is no list of 3 numbers")
        ours = [float(value) for value in section[key]]
        if theirs and any(abs(a - b) > 1e-4 for a, b in zip(ours, theirs, strict=True)):
            told = ",".join(f"{value:g}" for value in theirs)
            problems.append(
                f"backbone.{key}={ours}, but {source} was trained with [{told}]; set backbone.{key}=[{told}]"
            )
    if problems:
        raise ConfigError(problems)


def _whole(config: Any, key: str, source: str) -> int:
    """Return a number of a configuration."""
    value = getattr(config, key, None)
    if type(value) is not int or value < 1:
        raise _unusable(source, f"config.json says {key}={str(value)[:80]}, which is no whole number from 1")
    return value


def _image_settings(source: str) -> dict[str, Any]:
    """Return how the network's own processor prepares pictures; empty where nothing says it."""
    from transformers.image_processing_base import ImageProcessingMixin

    folder = Path(source).expanduser()
    try:
        own = ImageProcessingMixin.get_image_processor_dict(str(folder) if folder.is_dir() else source)[0]
    except OSError as error:
        if (folder / _PROCESSOR).is_file():  # there, and not readable
            raise _unusable(source, f"{_PROCESSOR} is not readable ({' '.join(str(error).split())[:200]})") from error
        return {}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _unusable(source, f"{_PROCESSOR} is not readable ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(own, dict):
        raise _unusable(source, f"{_PROCESSOR} is not readable (it is no JSON object)")
    return own


def _are_three_numbers(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(type(v) in (int, float) for v in value)
