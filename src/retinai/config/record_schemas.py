"""What `model.json` of an exported folder and retinai's part of a checkpoint must say before they are used.

A SHA-256 finds what was damaged; who changes a file on purpose makes its digests anew, so types, ranges and what
belongs together are checked as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
# `|` separates labels in tables.
LONGEST_CLASS = 100
CLASS_NAME = re.compile(rf"[^\x00-\x1f|]{{1,{LONGEST_CLASS}}}")
ClassName = Annotated[str, Field(min_length=1, max_length=LONGEST_CLASS, pattern=r"^[^\x00-\x1f|]+$")]
# A plain name: no folder, nothing that leads out of one, nothing hidden.
FileName = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
# Sums of float32 probabilities end a little beside 0 and 1.
Threshold = Annotated[float, Field(ge=-0.001, le=1.001)]


class Record(BaseModel):
    """A mapping of plain values: nothing is converted, numbers are finite, unknown keys are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True, protected_namespaces=())


class OpenRecord(Record):
    """A record that may say more than what is checked."""

    model_config = ConfigDict(extra="allow")


class TaskRecord(Record):
    """`Task.to_dict()`; what only some kinds of task may say is checked by their classes."""

    name: Name
    kind: Name
    classes: list[ClassName] = Field(min_length=1, max_length=1000)
    referable_from: int | None = None
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _belongs_together(self) -> TaskRecord:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("two classes have one name")
        return self


class PreprocessingRecord(Record):
    """`Preprocessing.to_dict()`."""

    input_size: int = Field(ge=16, le=4096)
    mean: list[Share] = Field(min_length=3, max_length=3)
    std: list[Annotated[float, Field(gt=0, le=10)]] = Field(min_length=3, max_length=3)
    interpolation: Literal["bilinear", "bicubic", "area"] = "area"
    crop: Literal["fov", "none"] = "fov"
    ben_graham: bool = False
    clahe: bool = False
    decoding: Literal["reduced", "whole"] = "whole"


class PointRecord(OpenRecord):
    """An operating point."""

    threshold: Threshold
    sensitivity: Share
    specificity: Share


class SetsRecord(OpenRecord):
    """What `fit_sets` gives."""

    level: Annotated[float, Field(gt=0, lt=1)]
    quantile: Threshold
    n: int = Field(ge=0)


class CalibrationRecord(OpenRecord):
    """What `fit_calibration` gives."""

    temperature: float = Field(gt=0, le=1000)
    scaling: Literal["softmax", "cumulative", "sigmoid"]
    operating_points: dict[Name, PointRecord] = {}
    thresholds: dict[Name, Share] = {}
    sets: SetsRecord | None = None


class OutsideRecord(Record):
    """`KnownFeatures.to_dict()`."""

    width: int = Field(ge=2, le=2**16)
    features: Annotated[str, Field(max_length=2**26)]
    variances: list[Annotated[float, Field(gt=0)]] = Field(min_length=1, max_length=1000)
    noise: float = Field(gt=0)
    limit: float = Field(gt=0)
    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    n: int = Field(ge=1)
    validation: int = Field(ge=1)
    validated: list[Annotated[float, Field(ge=0)]] = Field(min_length=1, max_length=1000)


class OutsideFacts(Record):
    """What an exported folder says of the distance in its graph."""

    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    n: int = Field(ge=1)
    validation: int = Field(ge=1)


class FieldRecord(OpenRecord):
    """`SampleField.to_dict()`; the class that it names checks its settings itself."""

    target: str = Field(alias="_target_", pattern=r"^retinai(\.\w+)+$", max_length=200)


class FrozenRecord(OpenRecord):
    """Frozen weights that a checkpoint leaves out."""

    sha256: Sha256
    tensors: int = Field(ge=0)


class CheckpointRecord(OpenRecord):
    """retinai's part of a checkpoint."""

    format: int
    version: Name
    target: Name
    network: Name
    hparams: dict[str, Any]
    # None, as the calibration: a model that does not grade has none.
    task: TaskRecord | None = None
    preprocessing: PreprocessingRecord
    backbone: Name
    model: Name
    data: dict[str, Any]
    calibration: CalibrationRecord | None = None
    frozen: FrozenRecord | None
    split: dict[str, str] | None = None

    @model_validator(mode="after")
    def _arguments_agree(self) -> CheckpointRecord:
        """A module is built of its arguments, and what is told of it stands beside them: both say the same."""
        for name, kind in (("preprocessing", PreprocessingRecord), ("task", TaskRecord)):
            told = getattr(self, name)  # a model that does not grade tells no task
            if told is not None and name in self.hparams and kind.model_validate(self.hparams[name]) != told:
                raise ValueError(f"hparams.{name} is another one than {name}")
        return self


class TensorRecord(Record):
    """An input or output of the exported graph: type and shape, the first side being `batch`."""

    type: Literal["uint8", "float32"]
    shape: list[Literal["batch"] | int] = Field(min_length=2, max_length=4)


class CpuRecord(Record):
    """`Cpu.to_dict()`."""

    name: Name
    machine: Name
    instructions: list[Name]


class CheckedOnRecord(OpenRecord):
    """On what an exported folder was compared with its checkpoint."""

    cpu: CpuRecord | None = None


class MemberRecord(OpenRecord):
    """One network of an exported ensemble."""

    backbone: Name
    checkpoint_sha256: Sha256
    temperature: Annotated[float, Field(gt=0, le=1000)] | None


class MasksRecord(OpenRecord):
    """The second network of an exported folder, which draws masks."""

    network: Annotated[FileName, Field(pattern=r"\.onnx$")]
    names: list[Name] = Field(min_length=1, max_length=32)
    thresholds: dict[Name, Share]
    input_size: int = Field(ge=16, le=4096)

    @model_validator(mode="after")
    def _belongs_together(self) -> MasksRecord:
        if len(set(self.names)) < len(self.names):
            raise ValueError("two masks have one name")
        if unknown := sorted(set(self.thresholds) - set(self.names)):
            raise ValueError(f"a threshold is of mask {unknown[0]!r}, which is not drawn")
        return self


class ManifestRecord(OpenRecord):
    """`model.json`."""

    format: int
    engine: Literal["onnx", "openvino"]
    precision: Literal["fp32", "bf16", "int8"]
    network: FileName
    inputs: dict[Name, TensorRecord]
    outputs: dict[Name, TensorRecord]
    task: TaskRecord
    preprocessing: PreprocessingRecord
    decision_rule: Name
    fields: list[FieldRecord] = Field(max_length=16)
    calibration: CalibrationRecord | None
    files: dict[FileName, Sha256]
    checked_on: CheckedOnRecord | None = None
    int8_reduce_range: bool | None = None
    members: Annotated[list[MemberRecord], Field(min_length=2, max_length=64)] | None = None
    masks: MasksRecord | None = None
    outside: OutsideFacts | None = None

    @model_validator(mode="after")
    def _belongs_together(self) -> ManifestRecord:
        stem = self.network.rpartition(".")[0]
        needed = [f"{stem}.onnx"] if self.engine == "onnx" else [f"{stem}.xml", f"{stem}.bin"]
        if self.network != needed[0]:
            raise ValueError(f"network {self.network!r} is no file for engine {self.engine!r}")
        needed += [] if self.masks is None else [self.masks.network]
        missing = [name for name in needed if name not in self.files]
        if missing:
            raise ValueError(f"the network's file {missing[0]!r} is not in the list of files")
        return self


R = TypeVar("R", bound=Record)


def check_record(kind: type[R], content: Mapping[str, Any]) -> R:
    """Return a mapping as a checked record.

    Args:
        kind: What it has to be.
        content: Plain values.

    Raises:
        ValueError: Says in one line what is wrong, the first three faults at most.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        told = [_told(fault) for fault in faults[:3]]
        more = [f"and {len(faults) - 3} more"] if len(faults) > 3 else []
    except RecursionError:
        told, more = ["it is nested too deeply"], []
    raise ValueError("; ".join([*told, *more]))


def _told(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])[:80]
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
