"""The keys of the commands that make ready, train and fetch weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from retinai.config.sections.base import (
    UNSET,
    Name,
    Path,
    Seed,
)
from retinai.config.sections.commands.command import Command, Processes


class Train(Command):
    """`retinai train`."""

    run_dir: Path | None = UNSET
    resume: bool = UNSET
    seed: Seed = UNSET
    calibrate: bool = UNSET
    test: bool = UNSET
    allow_double_balancing: bool = UNSET
    phase: Name = UNSET
    sweep: Path | None = UNSET
    study: Path | None = UNSET
    max_jobs: Annotated[int, Field(ge=1, le=100_000)] = UNSET


class Prepare(Command):
    """`retinai prepare`."""

    format: Literal["cache", "llava_jsonl"] = UNSET
    out: Path | None = UNSET
    overwrite: bool = UNSET
    run_dir: Path | None = UNSET
    workers: Processes = UNSET
    quality: bool = UNSET


class Fetch(Command):
    """`retinai fetch`."""

    out: Path = UNSET
    overwrite: bool = UNSET
