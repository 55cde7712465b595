"""Where things lie and come from: `paths`, `logger`, `init`, `teacher`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from retinai.config.sections.base import UNSET, CountOrZero, Name, Path, Section, Text


class Paths(Section):
    """Folders that all runs share."""

    outputs: Path = UNSET
    cache: Path = UNSET
    weights: Path = UNSET


class Logger(Section):
    """The tracking service."""

    name: Literal["wandb", "tensorboard", "csv", "none"] = UNSET
    project: Text = UNSET
    entity: Text | None = UNSET
    group: Text | None = UNSET
    tags: list[Text] = UNSET
    timeout: Annotated[float, Field(gt=0, le=3600)] = UNSET
    photographs: bool = UNSET
    thumbnails: CountOrZero = UNSET
    checkpoints: bool = UNSET


class MeasuringLogger(Logger):
    """The tracking service of a command that measures a trained run."""

    reasons: ClassVar[dict[str, str]] = {
        **{f"name={name}": "only a training has a log of that kind" for name in ("csv", "tensorboard")},
        "checkpoints=True": "it is the training that sends its checkpoint",
    }

    name: Literal["wandb", "none"] = UNSET
    checkpoints: Literal[False] = UNSET


class Init(Section):
    """Where the start weights come from."""

    path: Path | None = UNSET
    data: Name | None = UNSET
    layout: Literal["retinai", "course"] = UNSET


class Teacher(Section):
    """Whom a student learns from."""

    ckpt: Path | Annotated[list[Path], Field(min_length=1)] | None = UNSET
