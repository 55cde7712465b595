"""The keys of the commands that measure a model beyond its grades: embeddings, maps, damage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from retinai.config.sections.base import (
    UNSET,
    Accelerator,
    Count,
    CountOrZero,
    Path,
    Seed,
    Text,
    Workers,
)
from retinai.config.sections.commands.command import BatchSize, Command

_Percent = Annotated[float, Field(gt=0, le=100)] | Annotated[int, Field(ge=1, le=100)]
_Map = Literal[
    "gradcam",
    "gradcampp",
    "hirescam",
    "layercam",
    "cam",
    "occlusion",
    "ig",
    "kernelshap",
    "lime",
    "rollout",
    "attention",
]


class Embed(Command):
    """`retinai embed`."""

    ckpt: Path | None = UNSET
    images: Path | None = UNSET
    out: Path = UNSET
    overwrite: bool = UNSET
    pooling: Literal["own", "avg", "token", "all"] = UNSET
    dtype: Literal["float16", "float32"] = UNSET
    neighbours: Annotated[int, Field(ge=1, le=20)] | None = UNSET
    batch_size: BatchSize = UNSET
    num_workers: Workers = UNSET
    accelerator: Accelerator = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that a file of another kind cannot be written."""
        if values.get("out") is not None and not str(values["out"]).lower().endswith((".npz", ".parquet")):
            yield f"out={values['out']} must be a .npz or a .parquet file"


class Probe(Command):
    """`retinai probe`."""

    embeddings: Path | Annotated[list[Path], Field(min_length=1)] = UNSET
    target: Text | Annotated[list[Text], Field(min_length=1)] = UNSET
    method: Literal["linear", "knn"] = UNSET
    smote: bool = UNSET
    shots: _Percent | Annotated[list[_Percent], Field(min_length=1)] | None = UNSET
    draws: Annotated[int, Field(ge=1, le=1000)] = UNSET
    label_issues: bool = UNSET
    run_dir: Path | None = UNSET
    overwrite: bool = UNSET
    resamples: Annotated[int, Field(ge=1, le=10**6)] = UNSET
    seed: Seed = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that a file is named twice."""
        files = values.get("embeddings")
        if isinstance(files, list) and len({PurePath(str(file)).stem for file in files}) < len(files):
            yield (
                "embeddings= names two files of one name (without the suffix), by which results are told apart; "
                "rename one of them"
            )


class Explain(Command):
    """`retinai explain`."""

    ckpt: Path = UNSET
    images: Path | None = UNSET
    split: Literal["train", "val", "test", "predict"] = UNSET
    method: _Map | Annotated[list[_Map], Field(min_length=1)] = UNSET
    target: Text | Literal[True] = UNSET  # Hydra reads target=true so
    layer: Text = UNSET
    regions: list[Literal["vessels", "lesions", "disc"]] = UNSET
    vessels: Literal["wnet", "wnet_vessels", "sato", "folder"] = UNSET
    masks: Path | None = UNSET
    checks: CountOrZero = UNSET
    report: bool = UNSET
    overlays: bool = UNSET
    resamples: Annotated[int, Field(ge=1, le=10**6)] = UNSET
    run_dir: Path | None = UNSET
    overwrite: bool = UNSET
    batch_size: BatchSize | None = UNSET
    num_workers: Workers | None = UNSET
    accelerator: Accelerator = UNSET


class Stress(Command):
    """`retinai stress`."""

    reasons: ClassVar[dict[str, str]] = {"split=predict": "that part has no labels to measure on"}
    ckpt: Path = UNSET
    split: Literal["train", "val", "test"] = UNSET
    photographs: Count | None = UNSET
    severities: Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=1)] = UNSET
    angles: list[Annotated[int, Field(ge=1, le=359)]] = UNSET
    resamples: Annotated[int, Field(ge=1, le=10**6)] = UNSET
    run_dir: Path | None = UNSET
    overwrite: bool = UNSET
    num_workers: Annotated[int, Field(ge=0, le=1024)] = UNSET
    accelerator: Accelerator = UNSET
