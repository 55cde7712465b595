"""The keys of the commands that ship a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from retinai.config.sections.base import (
    UNSET,
    Count,
    NotNegative,
    Path,
    Seed,
    Workers,
)
from retinai.config.sections.commands.command import BatchSize, Checkpoints, Command

_Engine = Literal["onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-bf16", "openvino-int8"]
_Baseline = Literal["resnet101", "efficientnet_b5", "convnext_small", "resnext101"]


class Export(Command):
    """`retinai export`."""

    reasons: ClassVar[dict[str, str]] = {"split=predict": "that part has no labels to compare on"}
    ckpt: Checkpoints = UNSET
    out: Path = UNSET
    format: Literal["onnx", "openvino", "hf"] = UNSET
    precision: Literal["fp32", "bf16", "int8"] = UNSET
    int8_photographs: Count = UNSET
    int8_reduce_range: bool = UNSET
    split: Literal["test", "val", "train"] = UNSET
    max_difference: NotNegative | None = UNSET
    max_drop: NotNegative | None = UNSET
    calibrate: bool = UNSET
    force: bool = UNSET
    merge: bool = UNSET
    batch_size: BatchSize | None = UNSET
    num_workers: Workers | None = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that the other formats have nothing to merge: their graphs hold the adapters already."""
        if values.get("merge") and values.get("format") in ("onnx", "openvino"):
            yield f"merge=true is of format=hf; leave it out with format={values['format']}"


class Benchmark(Command):
    """`retinai benchmark`."""

    reasons: ClassVar[dict[str, str]] = {
        "split=test": "the test photographs are told beside and choose nothing",
        "batch=1": "single photographs are measured in any case",
    }
    ckpt: Path | None = UNSET
    run_dir: Path | None = UNSET
    overwrite: bool = UNSET
    students: list[_Engine] = UNSET
    baselines: list[_Baseline] = UNSET
    reference: list[_Engine] = UNSET
    baseline_engines: list[_Engine] = UNSET
    untrained: list[_Engine] = UNSET
    images: Path | None = UNSET
    threads: Annotated[int, Field(ge=1, le=1024)] = UNSET
    batch: Annotated[int, Field(ge=2, le=2**16)] = UNSET
    rounds: Count = UNSET
    rounds_batch: Count = UNSET
    split: Literal["val", "train"] = UNSET
    int8_photographs: Count = UNSET
    int8_reduce_range: bool = UNSET
    seed: Seed = UNSET
    quick: bool = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield the lists that would measure a row twice."""
        for key in ("students", "baselines", "reference", "baseline_engines", "untrained"):
            names = values.get(key) or []
            if len(set(names)) != len(names):
                yield f"{key}={','.join(names)} names one twice"
