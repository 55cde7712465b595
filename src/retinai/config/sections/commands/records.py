"""The keys of the commands that tell what was run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from retinai.config.sections.base import (
    UNSET,
    Count,
    Name,
    Path,
    Text,
)
from retinai.config.sections.commands.command import Command

_Table = Literal["md", "csv", "html"]


class Runs(Command):
    """`retinai runs`."""

    root: Path = UNSET
    limit: Count | None = UNSET
    sweep: Path | None = UNSET


class Report(Command):
    """`retinai report`."""

    runs: list[Path] = UNSET
    out: Path | None = UNSET
    overwrite: bool = UNSET
    format: _Table | Annotated[list[_Table], Field(min_length=1)] = UNSET
    against: Path | None = UNSET
    metrics: list[Text] | None = UNSET
    resamples: Annotated[int, Field(ge=1, le=10**6)] = UNSET


class Dashboard(Command):
    """`retinai dashboard`."""

    runs: list[Path] = UNSET
    out: Path | None = UNSET
    overwrite: bool = UNSET
    title: Text | None = UNSET
    photographs: Annotated[int, Field(ge=0, le=200)] = UNSET
    wandb: bool = UNSET
    project: Name = UNSET
    entity: Name | None = UNSET
