"""How a network learns: `optimizer`, `scheduler`, `sampler`, `augment`, `consistency`, `guidance`, `callbacks`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from retinai.config.sections.base import (
    UNSET,
    BuiltSection,
    Name,
    NotNegative,
    Path,
    Positive,
    Section,
    ShareAboveZero,
    ShareBelowOne,
    Text,
)

_Kind = Literal["microaneurysms", "haemorrhages", "hard_exudates", "soft_exudates", "optic_disc"]
_Callback = Annotated[dict[str, Any], Field(description="a section with _target_")]


class Optimizer(BuiltSection):
    """Which optimiser, and its rates."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.modules.optimization.OptimizerSettings",)
    name: Literal["adamw", "adam", "adamw_8bit"] = UNSET
    lr: Positive = UNSET
    weight_decay: NotNegative = UNSET
    betas: Annotated[list[ShareBelowOne], Field(min_length=2, max_length=2)] = UNSET
    eps: Positive = UNSET
    layer_decay: ShareAboveZero = UNSET
    head_lr_multiplier: Positive = UNSET


class Scheduler(BuiltSection):
    """How the learning rate moves."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.modules.optimization.SchedulerSettings",)
    name: Literal["onecycle", "cosine", "constant"] = UNSET
    warmup: ShareBelowOne = UNSET
    start_factor: ShareAboveZero = UNSET
    final_factor: ShareAboveZero = UNSET
    flat: ShareBelowOne = UNSET


class Sampler(Section):
    """How batches are composed."""

    name: Literal["shuffle", "weighted"] = UNSET


class Transform(Section):
    """One transform of albumentations; its arguments are checked by albumentations."""

    name: Text
    params: dict[str, Any] = UNSET


class Augment(Section):
    """The augmentation."""

    name: Name = UNSET
    transforms: Annotated[
        list[Transform], Field(description="a list of {name: a transform of albumentations, params: {...}}")
    ] = UNSET


class Consistency(Section):
    """Whether answers may change as photographs turn."""

    name: Literal["none", "rotation"] = UNSET
    weight: NotNegative = UNSET
    degrees: Annotated[float, Field(gt=0, le=180)] = UNSET


class NoGuidance(Section):
    """Maps are not looked at."""

    name: Literal["none"] = UNSET


class EntropyGuidance(BuiltSection):
    """How sharp maps are."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.guidance.terms.EntropyGuidance",)
    name: Name = UNSET
    weight: float = UNSET


class VesselGuidance(EntropyGuidance):
    """How much of them lies on vessels."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.guidance.terms.VesselGuidance",)
    region: Literal["vessels", "arteries", "veins"] = UNSET
    method: Literal["wnet", "wnet_vessels", "sato", "folder"] = UNSET
    weights: Path = UNSET
    masks: Path | None = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that masks of other tools are named where they are not taken, or the other way round."""
        if values.get("method") is not None and (values["method"] == "folder") != (values.get("masks") is not None):
            yield "guidance.masks= names the folder of guidance.method=folder; give both of them or neither"


class LesionGuidance(EntropyGuidance):
    """How much of them lies on drawn lesions."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.guidance.terms.LesionGuidance",)
    kinds: Annotated[list[_Kind], Field(min_length=1)] = UNSET


class EarlyStopping(BuiltSection):
    """When a run ends before its last epoch."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.callbacks.early_stopping.StopEarly",)
    patience: Annotated[int, Field(ge=1, le=10**9)] = UNSET
    min_delta: NotNegative = UNSET


class Averaging(BuiltSection):
    """A moving average of the weights."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.callbacks.averaging.AveragedWeights",)
    decay: ShareBelowOne = UNSET


class Callbacks(Section):
    """The callbacks by name; null switches one off, and more may be added."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, _Callback | None]
    best: _Callback = UNSET
    last: _Callback = UNSET
    metrics_csv: _Callback = UNSET
    progress: _Callback | None = UNSET
    early_stopping: EarlyStopping | None = UNSET
    averaging: Averaging | None = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield the callbacks that stand there twice: Lightning keeps the state of one of a class."""
        first: dict[str, str] = {}
        for name, section in values.items():
            target = section.get("_target_") if isinstance(section, Mapping) else None
            if isinstance(target, str) and first.setdefault(target, name) != name:
                yield f"callbacks.{name} and callbacks.{first[target]} are both {target}; a run takes one of each class"


MODELS: tuple[type[Section], ...] = (Optimizer, Scheduler, EntropyGuidance, VesselGuidance, LesionGuidance)
