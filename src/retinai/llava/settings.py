"""The `backbone` section of a LLaVA: where its weights come from and what its photographs look like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retinai.config.build import TARGET, check_own_kind
from retinai.encoders.registry import is_hub_name
from retinai.errors import ConfigError

TINY = "tiny"
PARTS = "parts"
_LANGUAGE_MODELS = ("retinai.llava.module.LlavaGrader", "retinai.llava.hybrid.HybridGrader")
_TYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class LlavaSettings:
    """Which LLaVA, and how it sees a photograph.

    Args:
        name: Name of the configuration.
        weights: A name on the Hugging Face hub, a local folder in the same format, `tiny`: a small network of
            the same classes with random weights, built on the spot, or `parts`: put together of `language`
            and `vision`.
        input_size: Side of the photograph in pixels, as the vision tower expects it.
        mean: Mean per RGB channel on a scale of 0 to 1, as the image processor subtracts it.
        std: Standard deviation per RGB channel.
        interpolation: How photographs are scaled.
        dtype: Type in which the network computes: `bfloat16`, `float16` or `float32`.
        revision: Revision on the hub; None takes the newest.
        billions: Parameters in billions, so that a missing GPU is told before anything is fetched; None
            looks into the network's own configuration.
        language: For a LLaVA that is put together (`weights=parts`): the language model, as `smollm2` (pip package), a
            GGUF file, a folder or a name on the hub.
        vision: Its vision tower: `efficientnet_lite0` or another backbone of `conf/backbone`, with the weights that
            stand there, or a checkpoint of retinai.
        image_tokens: Its tokens per photograph, a square number; the tower's feature map is averaged down to them.
    """

    name: str
    weights: str
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "area"
    dtype: str = "bfloat16"
    revision: str | None = None
    billions: float | None = None
    language: str | None = None
    vision: str | None = None
    image_tokens: int | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.dtype not in _TYPES:
            problems.append(f"backbone.dtype={self.dtype} is unknown; valid: {', '.join(_TYPES)}")
        parts = {"language": self.language, "vision": self.vision, "image_tokens": self.image_tokens}
        missing, given = [k for k in parts if not parts[k]], [k for k in parts if parts[k]]
        if self.is_assembled:
            problems += [f"backbone.{key} is missing; {self.name} is put together of parts" for key in missing]
        else:
            problems += [f"backbone.{key} means nothing for {self.name}; use backbone=llava_small" for key in given]
        count = self.image_tokens or 1
        if count < 1 or isqrt(count) ** 2 != count:
            problems.append(f"backbone.image_tokens={count} must be a square number, such as 64 or 144")
        if problems:
            raise ConfigError(problems)

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return that a LLaVA was chosen for another kind of model."""
        return only_for_llava(cfg, "backbone")

    @property
    def is_tiny(self) -> bool:
        """Whether it is the small network that needs no download."""
        return self.weights == TINY

    @property
    def is_assembled(self) -> bool:
        """Whether it is put together of a language model and an encoder."""
        return self.weights == PARTS

    def hub_networks(self) -> dict[str, str]:
        """Return the names on the hub of what it is made of, by the key that names each."""
        key, name = ("backbone.language", self.language) if self.is_assembled else ("backbone.weights", self.weights)
        return {key: name} if name and is_hub_name(name) else {}


def only_for_llava(cfg: DictConfig, group: str, instead: str = "") -> Iterable[str]:
    """Yield that the option of a group goes with a language model only, where another model was chosen.

    Args:
        cfg: The composed configuration.
        group: Name of the group.
        instead: What to use with other models.
    """
    model = OmegaConf.select(cfg, f"model.{TARGET}")
    if model is not None and model not in _LANGUAGE_MODELS:
        yield f"{group}={OmegaConf.select(cfg, f'{group}.name')} is of a language model; add model=llava{instead}"


def read_settings(section: Mapping[str, Any]) -> LlavaSettings:
    """Return the settings of a `backbone` section.

    Raises:
        ConfigError: If the section is of something else than a LLaVA.
    """
    check_own_kind(section, LlavaSettings)
    return LlavaSettings(**{key: value for key, value in section.items() if key != TARGET})
