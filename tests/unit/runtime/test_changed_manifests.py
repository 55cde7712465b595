"""A `model.json` that was changed, its digests made anew, is refused in one sentence before anything is loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from test_folder import make_folder

from retinai.config.record_schemas import PreprocessingRecord, TaskRecord
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import UserError
from retinai.runtime.folder import hash_file, manifest_digest, read_folder
from retinai.tasks.known import DR_GRADE, ODIR_COURSE

TASK = DR_GRADE.to_dict()
PIXELS = {"input_size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
TOPOLOGY = {"name": "cubical", "size": 64, "resolution": 8}
HASH = "0" * 64
SCALED = {"temperature": 1.0, "scaling": "softmax"}


def deep(levels: int = 100) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def field(**changes: Any) -> dict[str, Any]:
    return {"_target_": "retinai.topology.field.TopologyField", "settings": {**TOPOLOGY, **changes}}


CASES: dict[str, dict[str, Any]] = {
    "path upwards": {"network": "../network.onnx", "files": {"../network.onnx": HASH}},
    "absolute path": {"network": "/network.onnx", "files": {"/network.onnx": HASH}},
    "hidden name": {"network": ".onnx", "files": {".onnx": HASH}},
    "file outside": {"files": {"network.onnx": HASH, "../other": HASH}},
    "network not listed": {"files": {"card.md": HASH}},
    "files empty": {"files": {}},
    "files as a list": {"files": ["network.onnx"]},
    "digest too short": {"files": {"network.onnx": "0"}},
    "network of another engine": {"engine": "openvino"},
    "engine": {"engine": "tensorrt"},
    "precision": {"precision": "fp8"},
    "no network": {"network": None},
    "temperature 0": {"calibration": {**SCALED, "temperature": 0}},
    "temperature negative": {"calibration": {**SCALED, "temperature": -1.0}},
    "temperature as text": {"calibration": {**SCALED, "temperature": "1.5"}},
    "temperature true": {"calibration": {**SCALED, "temperature": True}},
    "temperature nested": {"calibration": {**SCALED, "temperature": {"a": 1}}},
    "calibration empty": {"calibration": {}},
    "no scaling": {"calibration": {"temperature": 1.0}},
    "scaling of another rule": {"calibration": {**SCALED, "scaling": "cumulative"}},
    "calibration as text": {"calibration": "none"},
    "operating point as text": {"calibration": {**SCALED, "operating_points": {"youden": "0.5"}}},
    "threshold above 1": {
        "calibration": {
            **SCALED,
            "operating_points": {"youden": {"threshold": 7.0, "sensitivity": 0.9, "specificity": 0.9}},
        }
    },
    "decision rule unknown": {"decision_rule": "coin"},
    "decision rule of labels": {"decision_rule": "threshold"},
    "decision rule nested": {"decision_rule": ["argmax"]},
    "fewer classes": {"task": {**TASK, "classes": TASK["classes"][:3]}},
    "one class": {"task": {**TASK, "classes": ["a"], "referable_from": None}},
    "classes twice": {"task": {**TASK, "classes": ["a", "a", "b", "c", "d"]}},
    "class names nested": {"task": {**TASK, "classes": [["a"], "b", "c", "d", "e"]}},
    "class name with a line break": {"task": {**TASK, "classes": ["a\nb", "b", "c", "d", "e"]}},
    "class name with half a character": {"task": {**TASK, "classes": ["\ud800", "b", "c", "d", "e"]}},
    "referable beyond": {"task": {**TASK, "referable_from": 5}},
    "task kind": {"task": {**TASK, "kind": "box"}},
    "labels that are referred": {"task": {**TASK, "kind": "multilabel"}, "decision_rule": "threshold"},
    "task nested": {"task": {"name": TASK}},
    "task says more": {"task": {**TASK, "more": 1}},
    "another input size": {"preprocessing": {**PIXELS, "input_size": 64}},
    "input size 0": {"preprocessing": {**PIXELS, "input_size": 0}},
    "input size huge": {"preprocessing": {**PIXELS, "input_size": 10**9}},
    "input size as text": {"preprocessing": {**PIXELS, "input_size": "32"}},
    "std 0": {"preprocessing": {**PIXELS, "std": [0.5, 0.0, 0.5]}},
    "mean too short": {"preprocessing": {**PIXELS, "mean": [0.5]}},
    "crop unknown": {"preprocessing": {**PIXELS, "crop": "circle"}},
    "interpolation unknown": {"preprocessing": {**PIXELS, "interpolation": "lanczos"}},
    "preprocessing says more": {"preprocessing": {**PIXELS, "sharpen": True}},
    "field of another graph": {"fields": [field()]},
    "field size": {"fields": [field(size=10**9)]},
    "field off": {"fields": [field(name="none")]},
    "field nested": {"fields": [field(sigma={"a": 1})]},
    "field settings say more": {"fields": [field(more=1)]},
    "field settings of another thing": {"fields": [field(_target_="os.system")]},
    "field says more": {"fields": [{**field(), "more": 1}]},
    "field as text": {"fields": "cubical"},
    "field without class": {"fields": [{"settings": TOPOLOGY}]},
    "field of the photograph's name": {"fields": [{**field(), "name": "photograph"}]},
    "field twice": {"fields": [field(), field()]},
    "field that is no array": {"fields": [{"_target_": "retinai.lesions.fields.FindingsField"}]},
    "field of no field": {"fields": [{"_target_": "retinai.files.write_text", "path": "x", "text": "y"}]},
    "field of another package": {"fields": [{"_target_": "os.system", "command": "false"}]},
    "field re-exported": {"fields": [{"_target_": "retinai.files.os.system", "command": "false"}]},
    "too many fields": {"fields": [{**field(), "name": str(n)} for n in range(17)]},
    "inputs as text": {"inputs": "photograph"},
    "outputs of another type": {"outputs": {"probability": {"type": "float64", "shape": ["batch", 5]}}},
    "outputs of another name": {"outputs": {"logits": {"type": "float32", "shape": ["batch", 5]}}},
    "cpu as text": {"checked_on": {"cpu": "fast"}},
    "checked_on as text": {"checked_on": "here"},
    "reduced as text": {"int8_reduce_range": "yes"},
    "decision rule deep": {"decision_rule": deep()},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_changes_with_new_digests_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"export the checkpoint anew|copy the folder again") as caught:
        read_folder(make_folder(tmp_path / "folder", **changes))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": ' * 5_000 + "1" + "}" * 5_000,
        '{"format": NaN}',
        '{"format": ' + "9" * 5_000 + "}",
        "",
        "null",
        "[]",
        '"text"',
        " " * 1_000_001,
        "\x00",
    ],
    ids=["deep", "deep object", "NaN", "long number", "empty", "null", "list", "text", "long file", "null byte"],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    folder = make_folder(tmp_path / "folder")
    (folder / "model.json").write_text(text)
    with pytest.raises(UserError, match=r"model\.json") as caught:
        read_folder(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder")
    (folder / "model.json").write_bytes(b'{"format": "\xff"}')
    with pytest.raises(UserError, match=r"model\.json cannot be read"):
        read_folder(folder)


def test_files_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder")
    (folder / "network.onnx").rename(tmp_path / "network.onnx")
    (folder / "network.onnx").symlink_to(tmp_path / "network.onnx")
    with pytest.raises(UserError, match=r"network\.onnx is a link that leads out of the folder"):
        read_folder(folder)
    (folder / "network.onnx").unlink()
    os.mkfifo(folder / "network.onnx")
    with pytest.raises(UserError, match=r"network\.onnx is missing"):
        read_folder(folder)


def test_the_bin_of_an_openvino_network_is_listed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder")
    for name in ("network.xml", "network.bin"):
        (folder / name).write_bytes(b"x")
    facts = json.loads((folder / "model.json").read_text())
    del facts["sha256"]
    for listed, part in ((["network.xml"], r"network\.bin.*not in the list"), (["network.xml", "network.bin"], "")):
        changed = facts | {"engine": "openvino", "network": "network.xml"}
        changed["files"] = {name: hash_file(folder / name) for name in listed}
        (folder / "model.json").write_text(json.dumps(changed | {"sha256": manifest_digest(changed)}))
        if part:
            with pytest.raises(UserError, match=part):
                read_folder(folder)
        else:
            assert read_folder(folder).engine == "openvino"


def test_the_records_know_every_field() -> None:
    """A field that is added to a task or to the preprocessing needs its check here too."""
    pixels = Preprocessing.from_dict(PIXELS).to_dict()
    assert PreprocessingRecord.model_validate(pixels).model_dump() == pixels
    for task in (DR_GRADE, ODIR_COURSE):
        assert TaskRecord.model_validate(task.to_dict()).model_dump(exclude_unset=True) == task.to_dict()
