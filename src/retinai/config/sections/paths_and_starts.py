"""Where things lie and come from: `paths`, `logger`, `init`, `teacher`; and what is advised: `recommendation`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from retinai.config.sections.base import UNSET, CountOrZero, Name, Path, Section, Text
from retinai.config.sections.sentences import problems


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


class Advice(Section):
    """What is advised for one grade, in each language of the page."""

    refer: bool = UNSET
    urgency: CountOrZero = UNSET
    en: Text = UNSET
    es: Text = UNSET
    hi: Text = UNSET


class Recommendation(Section):
    """A guideline for the grades of one task."""

    name: Text = UNSET
    source: Text = UNSET
    task: Name = UNSET
    grades: dict[str, Any] = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield what is wrong with the advice on a grade, or missing there."""
        for name, advice in values.get("grades", {}).items():
            where = f"recommendation.grades.{name}"
            if not isinstance(advice, dict):
                yield f"{where} must be a section of keys and values"
                continue
            yield from problems(Advice, advice, where)
            missing = [key for key in Advice.model_fields if key not in advice]
            if missing:
                yield f"{where} lacks {', '.join(missing)}"
