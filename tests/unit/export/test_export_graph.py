"""The exported graph gives the module's probabilities, whatever the loss; what it cannot hold is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from module_factory import SIZE, make_classifier, section

from retinai.data.photographs.normalise import normalise
from retinai.errors import UserError
from retinai.export.graph import PixelsToProbabilities
from retinai.export.onnx import refusal, write_graph
from retinai.export.openvino import convert
from retinai.tasks.known import DR_GRADE, ODIR_8
from retinai.tasks.task import Task

TINY = section("backbone", "resnet18", architecture="test_resnet", weights="none", input_size=SIZE)
CASES: list[tuple[Task, dict[str, Any]]] = [
    (DR_GRADE, {"loss": section("loss", "corn"), "attention": section("attention", "cbam"), "test_time_flips": True}),
    (DR_GRADE, {"loss": section("loss", "coral")}),
    (DR_GRADE, {"loss": section("loss", "regression")}),
    (ODIR_8, {"attention": section("attention", "se")}),
    (ODIR_8, {"attention": section("attention", "mha"), "hidden": 16}),
    (DR_GRADE, {"branches": {"topology": section("topology", "cubical", fusion="gated")}, "test_time_flips": True}),
]


def run(file: Path, inputs: dict[str, torch.Tensor]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(["probability"], {name: value.numpy() for name, value in inputs.items()})[0]


@pytest.mark.parametrize(
    ("task", "changes"), CASES, ids=["corn_cbam_flips", "coral", "regression", "bce", "mha_hidden", "topology"]
)
def test_the_graph_is_the_module(task: Task, changes: dict[str, Any], tmp_path: Path) -> None:
    module = make_classifier(task, backbone=TINY, **changes).eval()
    with torch.no_grad():  # a fresh head gives even probabilities, which would hide a wrong order
        module.network.head.weight.mul_(50)
    graph = PixelsToProbabilities(module).eval()
    write_graph(graph, tmp_path / "graph.onnx")
    for batch in (1, 5):
        inputs = graph.example(batch)
        sample = {"image": torch.from_numpy(normalise(inputs["photograph"].numpy(), module.preprocessing))}
        with torch.inference_mode():
            expected = module.predict_step({**sample, **inputs, "id": [""] * batch})["probability"]
        assert expected.std() > 0.01
        np.testing.assert_allclose(run(tmp_path / "graph.onnx", inputs), expected, atol=2e-6)
    assert str(Path(torch.__file__).parent).encode() not in (tmp_path / "graph.onnx").read_bytes()


@pytest.mark.parametrize("flips", [False, True])
def test_openvino_keeps_the_names_of_both_inputs(flips: bool, tmp_path: Path) -> None:
    """Without flips nothing is repeated, so OpenVINO removes the repetition of the topology, which has a name too."""
    topology = section("topology", "cubical", fusion="gated")
    module = make_classifier(backbone=TINY, branches={"topology": topology}, test_time_flips=flips).eval()
    graph = PixelsToProbabilities(module).eval()
    model = convert(graph, tmp_path)
    assert [port.names for port in model.inputs] == [{"photograph"}, {"topology"}]
    assert [port.names for port in model.outputs] == [{"probability"}]


class Bessel(torch.nn.Module):
    """A head that no exporter knows."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(self.head(features))


class Lottery(torch.nn.Module):
    """A head whose course depends on the photograph."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(features) if features.sum() > 0 else self.head(-features)


@pytest.mark.parametrize(("head", "named"), [(Bessel, "bessel_j0"), (Lottery, "depends on the photograph")])
def test_what_the_format_cannot_hold_is_named(head: type[torch.nn.Module], named: str, tmp_path: Path) -> None:
    module = make_classifier(backbone=TINY).eval()
    module.network.head = head(module.network.head)
    with pytest.raises(UserError, match=f"format=onnx cannot hold .*{named}"):
        write_graph(PixelsToProbabilities(module).eval(), tmp_path / "graph.onnx")


def test_a_defect_is_no_missing_operator() -> None:
    assert refusal("onnx", RuntimeError("something else")) is None
    error = RuntimeError("OpenVINO does not support the following ONNX operations: Banana-20")
    assert "'Banana-20'" in str(refusal("openvino", error))
