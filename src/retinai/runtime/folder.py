"""The folder of an exported model: `model.json`, the network, the card. Read, and checked, before it grades."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retinai.config.build import build
from retinai.config.record_schemas import ManifestRecord, check_record
from retinai.data.loading.fields import SampleField
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import UserError
from retinai.files import told
from retinai.prediction.outside import DISTANCE, OUTSIDE
from retinai.runtime.cpu import Cpu
from retinai.tasks.task import Task

FORMAT = 3  # 2: `decision_rule`, and a list of fields; 3: fields without names of their own
MANIFEST = "model.json"
# The names of the graph's first input and of its output; each further input is named after its field.
PHOTOGRAPH, PROBABILITY = "photograph", "probability"
# The second output of several networks in one graph: the probabilities of each.
MEMBERS = "members"
# The output of the second network, which draws masks.
MASKS = "masks"
_DIGEST = "sha256"
_LONGEST = 1_000_000  # bytes of model.json; a usual one has some thousand


@dataclass(frozen=True)
class MaskFacts:
    """What `model.json` says of the second network.

    Args:
        network: Name of its file in the folder; always ONNX, which both engines read.
        names: What is drawn, in the order of the planes.
        thresholds: From which probability on a pixel belongs to a mask, by name.
        preprocessing: How a photograph becomes its input: as for the grade, on a larger square.
    """

    network: str
    names: tuple[str, ...]
    thresholds: Mapping[str, float]
    preprocessing: Preprocessing

    def threshold(self, name: str) -> float:
        """Return the threshold of a mask; 0.5 where none was chosen."""
        return float(self.thresholds.get(name, 0.5))

    @property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """Name, type and shape of the input that the network has to have."""
        side = self.preprocessing.input_size
        return {PHOTOGRAPH: {"type": "uint8", "shape": ["batch", side, side, 3]}}

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """Name, type and shape of the output that the network has to have."""
        side = self.preprocessing.input_size
        return {MASKS: {"type": "float32", "shape": ["batch", len(self.names), side, side]}}


@dataclass(frozen=True)
class ModelFolder:
    """What `model.json` says.

    Args:
        path: The folder.
        engine: `onnx` or `openvino`.
        precision: `fp32`, `bf16` or `int8`.
        network: Name of the network's file in the folder.
        task: What it was trained for.
        preprocessing: How a photograph becomes the input.
        decision_rule: How probabilities become decisions, see `retinai.metrics.decisions.decide`.
        fields: What the network reads beside the photograph, in the order of its inputs.
        calibration: `{"temperature", "scaling", "operating_points", "thresholds"}` as the checkpoint held it, or None.
        checked_on: The CPU on which it was compared with its checkpoint; None in folders that do not say.
        reduced: Whether its int8 weights keep to 7 bits.
        members: How many networks answer as one; 1 for a single one.
        masks: Of a second network that draws masks; None in folders without one.
        outside: What is known of the distance in its graph: `false_alarms` (the promised share of photographs beyond
            the limit), `n` training and `validation` photographs; None in folders without one.
        facts: Everything in `model.json`, as plain values.
    """

    path: Path
    engine: str
    precision: str
    network: str
    task: Task
    preprocessing: Preprocessing
    decision_rule: str
    fields: tuple[SampleField, ...]
    calibration: dict[str, Any] | None
    checked_on: Cpu | None
    reduced: bool
    members: int
    masks: MaskFacts | None
    outside: dict[str, Any] | None
    facts: dict[str, Any]

    @property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """Name, type and shape of each input that the network has to have."""
        side = self.preprocessing.input_size
        found = {PHOTOGRAPH: {"type": "uint8", "shape": ["batch", side, side, 3]}}
        return found | {f.name: {"type": "float32", "shape": ["batch", *(f.shape or ())]} for f in self.fields}

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """Name, type and shape of each output that the network has to have."""
        classes = self.task.num_classes
        found = {PROBABILITY: {"type": "float32", "shape": ["batch", classes]}}
        if self.outside is not None:
            found[DISTANCE] = {"type": "float32", "shape": ["batch", 1]}
        if self.members > 1:
            found[MEMBERS] = {"type": "float32", "shape": ["batch", self.members, classes]}
        return found


def read_folder(folder: str | Path) -> ModelFolder:
    """Read an exported folder and check that every file is the one that was exported.

    Args:
        folder: A folder of `retinai export`.

    Raises:
        UserError: If it is no such folder, of another format, incomplete, or was changed; names the file.
    """
    path = Path(folder).expanduser()
    facts = _read_manifest(path)
    for name, digest in facts["files"].items():
        file = path / name
        if file.resolve().parent != path.resolve():
            raise UserError(f"{file} is a link that leads out of the folder; copy the files themselves")
        if not file.is_file():
            raise UserError(f"{path} is incomplete: {name} is missing; copy the whole folder again, or export it anew")
        if hash_file(file) != digest:
            raise _changed(file)
    try:
        return _interpret(path, facts)
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise _unusable(path, error) from error


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not path.is_dir():
        raise UserError(f"model={path}: there is no such folder; give one that `retinai export` wrote")
    if not file.is_file():
        raise UserError(f"model={path} holds no {MANIFEST}; give a folder that `retinai export` wrote")
    try:
        if file.stat().st_size > _LONGEST:
            raise ValueError(f"{file.stat().st_size} bytes are no {MANIFEST}")
        facts = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        digest = manifest_digest(facts) if isinstance(facts, dict) else ""
    except (OSError, ValueError, RecursionError) as error:
        reason = told(error) if isinstance(error, OSError) else str(error)[:200] or type(error).__name__
        raise UserError(f"{file} cannot be read ({reason}); copy the folder again, or export it anew") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else None
        raise UserError(
            f"{file} is of format {found!r}, this retinai reads format {FORMAT}; export the checkpoint with this "
            "version, or install the version of retinai that the file names"
        )
    if facts.get(_DIGEST) != digest:
        raise _changed(file)
    try:
        check_record(ManifestRecord, facts)
    except ValueError as error:
        raise _unusable(path, error) from error
    return facts


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _unusable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path / MANIFEST} cannot be used ({error}); export the checkpoint anew")


def _changed(file: Path) -> UserError:
    return UserError(f"{file} was changed after the export (SHA-256); copy the folder again, or export it anew")


def _interpret(path: Path, facts: Mapping[str, Any]) -> ModelFolder:
    folder = ModelFolder(
        path=path,
        engine=facts["engine"],
        precision=facts["precision"],
        network=facts["network"],
        task=Task.from_dict(facts["task"]),
        preprocessing=Preprocessing.from_dict(facts["preprocessing"]),
        decision_rule=facts["decision_rule"],
        fields=_fields(facts["fields"]),
        calibration=facts["calibration"],
        checked_on=Cpu.from_dict((facts.get("checked_on") or {}).get("cpu")),
        reduced=facts.get("int8_reduce_range") is True,
        members=len(facts.get("members") or [None]),
        masks=_masks(facts),
        outside=facts.get(OUTSIDE),
        facts=dict(facts),
    )
    folder.task.check_decision_rule(folder.decision_rule)
    scaling = folder.task.scalings[folder.decision_rule]
    if folder.calibration is not None and folder.calibration["scaling"] != scaling:
        raise ValueError(
            f"calibration scales by {folder.calibration['scaling']}, and its decision rule asks for {scaling}"
        )
    for part, expected in (("inputs", folder.inputs), ("outputs", folder.outputs)):
        if facts[part] != expected:
            raise ValueError(
                f"{part} are {facts[part]}, and what it says of task and preprocessing asks for {expected}"
            )
    return folder


def _masks(facts: Mapping[str, Any]) -> MaskFacts | None:
    known = facts.get("masks")
    if known is None:
        return None
    preprocessing = Preprocessing.from_dict({**facts["preprocessing"], "input_size": known["input_size"]})
    return MaskFacts(known["network"], tuple(known["names"]), dict(known["thresholds"]), preprocessing)


def _fields(sections: Sequence[Mapping[str, Any]]) -> tuple[SampleField, ...]:
    """Build the fields that a folder names; nothing but fields of retinai is called.

    Raises:
        ConfigError: If something else is named, or an argument does not fit.
        MissingExtraError: If a field needs a package that is not installed.
        ValueError: If a field cannot be an input beside the photograph.
    """
    fields = tuple(build(section, SampleField) for section in sections)
    names = [PHOTOGRAPH, *(field.name for field in fields)]
    for field in fields:
        if field.shape is None or field.needs_annotations or names.count(field.name) > 1:
            raise ValueError(f"field {field.name!r} is no input beside the photograph")
    return fields


def manifest_digest(facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what `model.json` says, its own digest left out."""
    content = {key: value for key, value in facts.items() if key != _DIGEST}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
