"""The untrained student and its twin."""

from __future__ import annotations

from pathlib import Path

import pytest

from retinai.benchmark.contenders import TorchContender
from retinai.benchmark.networks import make_baseline, make_twin, open_student
from retinai.benchmark.photographs import jpeg_photographs
from retinai.config.checks import check
from retinai.config.compose import compose
from retinai.modules.load import load_module

pytest.importorskip("gudhi")


def test_an_untrained_student_and_its_twin_with_topology(synthetic_aptos: Path, tmp_path: Path) -> None:
    words = ["data=aptos", f"data.root={synthetic_aptos}", "data.num_workers=0", f"paths.cache={tmp_path / 'cache'}"]
    cfg = compose("benchmark", ["backbone=resnet18", "backbone.input_size=32", "attention=cbam", *words])
    check("benchmark", cfg)
    assert cfg.backbone.weights == "none"
    student = open_student(cfg, tmp_path)
    assert student.name == "resnet18 student (untrained)" and not student.trained and not student.topology
    assert load_module(student.checkpoint).task.name == "dr_grade"
    twin = make_twin(student, tmp_path)
    assert twin.topology and twin.role == "twin" and twin.input_size == student.input_size == 32
    row = twin.row("openvino", "int8", tmp_path / "folder")
    assert row.name == "resnet18 twin (untrained) + topology, OpenVINO int8" and row.topology
    jpegs = jpeg_photographs(None, 1)
    decisions, spent = TorchContender(str(twin.checkpoint)).grade(jpegs)
    assert decisions.shape == (1,) and spent["topology"] > 1e-4
    # A twin of one with topology has none.
    again = make_twin(twin, tmp_path)
    assert not again.topology
    _, spent = TorchContender(str(again.checkpoint)).grade(jpegs)
    assert spent["topology"] < 1e-4
    # Those beside get the student's pixels and task, and neither its attention nor its topology.
    beside = make_baseline(twin, "resnet101", tmp_path)
    module = load_module(beside.checkpoint)
    assert (beside.role, beside.key, beside.name, beside.trained) == ("baseline", "resnet101", "ResNet-101", False)
    assert (
        beside.input_size == 32
        and not beside.topology
        and module.preprocessing == load_module(twin.checkpoint).preprocessing
    )
    # timm's own count: 44.55 M parameters with 1000 classes of 2048 weights and a bias each; here there are 5.
    assert sum(p.numel() for p in module.network.parameters()) == 44_549_160 - 995 * 2049
    assert beside.row("onnx", "fp32", tmp_path).key == "resnet101-onnx-fp32"
    assert beside.row("pytorch", "fp32", tmp_path).name == "ResNet-101, PyTorch eager"
