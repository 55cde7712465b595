"""A network is the one that its folder speaks of, or refused: inputs, output, and what it gives when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_folder import make_folder

from retinai.errors import UserError
from retinai.runtime import ExportedModel
from retinai.runtime.folder import hash_file

GRADES = [0.1, 0.2, 0.3, 0.2, 0.2]


def graph(
    row: list[float] = GRADES, side: Any = 32, *, batch: Any = "batch", channels: int = 3, name: str = "photograph",
    output: str = "probability", kind: int = TensorProto.UINT8, scale: float = 0.0,
) -> onnx.ModelProto:  # fmt: skip
    """A network that gives the same row for every photograph, plus `scale` times its mean."""
    nodes = [
        helper.make_node("Cast", [name], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "axes"], ["means"], keepdims=0),
        helper.make_node("Unsqueeze", ["means", "last"], ["column"]),
        helper.make_node("Mul", ["column", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "row"], [output]),
    ]
    constants = {
        "axes": np.array([1, 2, 3]),
        "last": np.array([1]),
        "scale": np.array(scale, np.float32),
        "row": np.array([row], np.float32),
    }
    made = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, kind, [batch, side, side, channels])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, len(row)])],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def folder_with(place: Path, model: onnx.ModelProto, engine: str = "onnx", **changes: Any) -> Path:
    folder = make_folder(place, **changes)
    onnx.save(model, folder / "network.onnx")
    names = ["network.onnx"]
    if engine == "openvino":
        model = openvino.convert_model(folder / "network.onnx")
        openvino.save_model(model, folder / "network.xml", compress_to_fp16=False)  # float16 would cut infinity off
        names = ["network.xml", "network.bin"]
    files = {name: hash_file(folder / name) for name in names}
    (folder / "model.json").unlink()
    text = make_folder(place.with_name("facts"), engine=engine, network=names[0], files=files, **changes)
    (text / "model.json").rename(folder / "model.json")
    return folder


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_the_network_that_fits_grades(tmp_path: Path, engine: str) -> None:
    grader = ExportedModel(folder_with(tmp_path / "folder", graph(), engine), threads=1)
    np.testing.assert_allclose(grader.probabilities(np.zeros((1, 32, 32, 3), np.uint8))[0], GRADES, atol=1e-3)


CASES = {
    "fewer classes": (graph([0.5, 0.3, 0.2]), "outputs are"),
    "another input size": (graph(side=64), "inputs are"),
    "input size not fixed": (graph(side="side"), "inputs are"),
    "another name": (graph(name="pixels"), "inputs are"),
    "another output": (graph(output="logits"), "outputs are"),
    "another type": (graph(kind=TensorProto.FLOAT), "inputs are"),
    "channels": (graph(channels=1), "inputs are"),
    "batch of one": (graph(batch=1), "inputs are"),
    "NaN": (graph([float("nan"), *GRADES[1:]]), "no numbers"),
    "infinite": (graph([float("inf"), *GRADES[1:]]), "no numbers"),
    "logits": (graph([3.0, -1.0, 0.5, 0.0, 0.0]), "are no probabilities"),
    "more than all": (graph([0.5] * 5), "do not add up to 1"),
    "only for some photographs": (graph(scale=1.0), "are no probabilities"),
}
_BOTH = ["fewer classes", "another input size", "input size not fixed", "another type", "NaN"]


@pytest.mark.parametrize(("engine", "case"), [*(("onnx", case) for case in CASES), *(("openvino", c) for c in _BOTH)])
def test_another_network_is_refused(tmp_path: Path, engine: str, case: str) -> None:
    model, part = CASES[case]
    with pytest.raises(UserError, match=part) as caught:
        ExportedModel(folder_with(tmp_path / "folder", model, engine), threads=1)
    assert "is not the network that" in str(caught.value) and "\n" not in str(caught.value)


def test_labels_need_not_add_up(tmp_path: Path) -> None:
    task = {"name": "labels", "kind": "multilabel", "classes": list("abcde"), "referable_from": None}
    options = {"task": task, "decision_rule": "threshold"}
    folder = folder_with(tmp_path / "folder", graph([0.9] * 5), **options)
    assert ExportedModel(folder, threads=1).decision_rule == "threshold"


@pytest.mark.parametrize("content", [b"", b"no network", b"\0" * 100], ids=["empty", "text", "zeros"])
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, engine: str, content: bytes) -> None:
    folder = make_folder(tmp_path / "folder")
    names = ["network.onnx"] if engine == "onnx" else ["network.xml", "network.bin"]
    for name in names:
        (folder / name).write_bytes(content)
    files = {name: hash_file(folder / name) for name in names}
    changed = make_folder(tmp_path / "facts", engine=engine, network=names[0], files=files)
    (changed / "model.json").replace(folder / "model.json")
    with pytest.raises(UserError, match="cannot load") as caught:
        ExportedModel(folder, threads=1)
    assert "\n" not in str(caught.value)
