"""The keys of the commands that grade photographs: with a checkpoint, with an exported folder, in a clinic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from retinai.config.sections.base import (
    UNSET,
    Accelerator,
    Path,
    Section,
    Seed,
    Text,
    Workers,
)
from retinai.config.sections.commands.command import BatchSize, Checkpoints, Command

DropoutSamples = Annotated[int, Field(ge=0, le=1000)]


class Evaluate(Command):
    """`retinai evaluate`."""

    ckpt: Checkpoints | None = UNSET
    split: Literal["train", "val", "test", "predict"] = UNSET
    run_dir: Path | None = UNSET
    overwrite: bool = UNSET
    batch_size: BatchSize | None = UNSET
    num_workers: Workers | None = UNSET
    accelerator: Accelerator = UNSET
    grading: Literal["score", "generate"] | None = UNSET
    thresholds: Literal["half", "validation"] = UNSET
    level: Literal["photograph", "patient"] = UNSET
    label_shift: bool = UNSET
    views: Literal["flips", "one"] | None = UNSET
    dropout_samples: DropoutSamples = UNSET
    dropout_seed: Seed = UNSET
    calibrate: bool = UNSET
    quality: bool = UNSET
    pooling: Literal["max", "mean", "noisy_or"] = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that thresholds of photographs are none of patients."""
        if values.get("level") == "patient" and values.get("thresholds") == "validation":
            yield "thresholds=validation were fitted on photographs; leave it out with level=patient"


class Predict(Command):
    """`retinai predict`."""

    ckpt: Checkpoints | None = UNSET
    images: Path = UNSET
    out: Path = UNSET
    overwrite: bool = UNSET
    views: Literal["flips", "one"] | None = UNSET
    dropout_samples: DropoutSamples = UNSET
    dropout_seed: Seed = UNSET
    calibrate: bool = UNSET
    quality: bool = UNSET
    format: Literal["auto", "retinai", "kaggle", "course", "odir"] = UNSET
    batch_size: BatchSize = UNSET
    num_workers: Workers = UNSET
    accelerator: Accelerator = UNSET
    threads: Annotated[int, Field(ge=1, le=1024)] | None = UNSET
    thresholds: Literal["half", "validation"] = UNSET
    engine: Literal["local", "ray"] = UNSET
    part_size: Annotated[int, Field(ge=1, le=10**6)] = UNSET
    attempts: Annotated[int, Field(ge=1, le=100)] = UNSET
    ray_address: Text | None = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield what an engine or a layout cannot do."""
        if values.get("quality") and (values.get("engine") == "ray" or values.get("format") not in ("auto", "retinai")):
            yield "quality=true is of engine=local and retinai's own columns; leave out engine= and format="
        if values.get("engine") == "ray":
            if values.get("ckpt") is not None:
                yield "engine=ray grades with a folder of `retinai export`: model=FOLDER in the place of ckpt="
            if values.get("format") not in ("auto", "retinai"):
                yield f"engine=ray writes Parquet files with retinai's columns; leave out format={values['format']}"
            if values.get("thresholds") == "validation":
                yield "thresholds=validation is not of engine=ray, which decides from one half on; leave it out"
        elif values.get("ray_address") is not None:
            yield f"ray_address={values['ray_address']} is of engine=ray; leave it out, or give that engine"


class ModelFolder(Section):
    """`model=FOLDER` of the commands that grade with an exported folder."""

    folder: Path | None = UNSET


class _Clinic(Command):
    """What the commands of `retinai.app` share."""

    language: Literal["en", "es", "hi"] = UNSET
    refer_if: Annotated[list[Text], Field(min_length=1)] = UNSET
    audit: Path | None = UNSET
    keep_photographs: Path | None = UNSET
    max_megabytes: Annotated[int, Field(ge=1, le=512)] = UNSET
    time_limit: Annotated[float, Field(gt=0, le=600)] = UNSET
    threads: Annotated[int, Field(ge=1, le=1024)] | None = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that photographs are to be kept without a record that tells whose they are."""
        if values.get("keep_photographs") is not None and "audit" in values and values["audit"] is None:
            yield "keep_photographs= belongs to the record of audit=; give both, or leave out keep_photographs="


class App(_Clinic):
    """`retinai app`."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$", description="an address or a name")] = UNSET
    port: Annotated[int, Field(ge=0, le=65535)] = UNSET
    password_file: Path | None = UNSET


class Worklist(_Clinic):
    """`retinai worklist`."""

    images: Path = UNSET
    out: Path = UNSET
    overwrite: bool = UNSET
