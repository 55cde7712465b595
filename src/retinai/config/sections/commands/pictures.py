"""The keys of the commands that draw or segment photographs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from retinai.config.sections.base import (
    UNSET,
    Accelerator,
    CohortSize,
    Path,
    Section,
    Seed,
    Text,
    Workers,
)
from retinai.config.sections.commands.command import Command, Processes


class LogOdds(Section):
    """What the outcome of the cohort `oculomics` depends on."""

    artery: float = UNSET
    tortuosity: float = UNSET
    age: float = UNSET
    male: float = UNSET


class Generator(Section):
    """`retinai synthesize from=CKPT class=NAME`."""

    ckpt: Path | None = UNSET
    label: Text | None = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that a class is of a generator."""
        if values.get("label") is not None and values.get("ckpt") is None:
            yield f"class={values['label']} is of from=CKPT (a checkpoint of model=vae); give both, or leave class= out"


class Synthesize(Command):
    """`retinai synthesize`."""

    layout: Literal["aptos", "idrid", "odir", "odir_kaggle", "odir_course", "eyepacs", "messidor2", "ddr", "brset",
                    "oculomics"] = UNSET  # fmt: skip
    n: CohortSize = UNSET
    size: Annotated[int, Field(ge=64, le=4288)] | None = UNSET
    seed: Seed = UNSET
    out: Path = UNSET
    masks: bool = UNSET
    camera: Literal["mixed", "canon", "zeiss", "kowa", "topcon"] = UNSET
    workers: Processes = UNSET


class Segment(Command):
    """`retinai segment`."""

    images: Path | None = UNSET
    out: Path = UNSET
    overwrite: bool = UNSET
    vessels: Literal["wnet", "wnet_vessels", "sato", "folder"] = UNSET
    masks: Path | None = UNSET
    preview: bool = UNSET
    biomarkers: bool = UNSET
    disc: Literal["networks", "none"] = UNSET
    num_workers: Workers = UNSET
    accelerator: Accelerator = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that masks of other tools are named where they are not taken, or the other way round."""
        if values.get("vessels") is not None and (values["vessels"] == "folder") != (values.get("masks") is not None):
            yield "masks= names the folder of vessels=folder; give both of them or neither"
