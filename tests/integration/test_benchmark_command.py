"""`retinai benchmark` in its quick mode, on the checkpoint of a real, tiny run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

Command = Callable[..., int]


def test_a_quick_benchmark_leaves_rows_ratio_table_and_figure(
    tiny_checkpoint: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "speed"
    words = ["quick=true", "students=[onnx-fp32]", "baselines=[resnet101]", "reference=[onnx-fp32]"]
    words += ["untrained=[]", f"run_dir={out}"]
    assert command("benchmark", f"ckpt={tiny_checkpoint}", *words, f"paths.cache={tmp_path / 'cache'}") == 0
    printed = capsys.readouterr().out
    result = json.loads((out / "benchmark.json").read_text())
    rows = {row["key"]: row for row in result["rows"]}
    assert set(rows) == {"student-pytorch", "student-onnx-fp32", "resnet101-pytorch", "resnet101-onnx-fp32"}
    for row in rows.values():
        assert row["reason"] == "" and row["input_size"] == 32
        for key in ("network_ms", "jpeg_to_grade_ms", "peak_memory_mb"):
            assert set(row[key]) == {"1", "2"}
        assert row["network_ms"]["1"]["low"] <= row["network_ms"]["1"]["median"] <= row["network_ms"]["1"]["high"]
        stages = sum(stage["median"] for stage in row["stages_ms"]["1"].values())
        assert stages == pytest.approx(row["jpeg_to_grade_ms"]["1"]["median"], rel=0.25)
        assert row["parameters"] > 3e5 and row["file_mb"] > 1 and row["flops"] == 2 * row["macs"] > 0
    best = result["student_vs_resnet101_details"]["row"]
    assert best.startswith("student-")
    assert result["student_vs_resnet101"] == rows[best]["times_faster_than_resnet101"]["1"]["median"] > 1
    for row in rows.values():
        formats = row["memory_formats"]
        assert (
            formats is None if row["engine"] != "pytorch" else set(formats.values()) <= {"channels_last", "contiguous"}
        )
    factors = result["student_vs_resnet101_details"]["factors"]
    assert factors["missing"] == []
    for way in ("network_first", "network_last"):
        steps = [factors[way][name]["rounds"] for name in ("network", "engine", "precision")]
        product = [math.prod(step) for step in zip(*steps, strict=True)]
        assert product == pytest.approx(result["student_vs_resnet101_details"]["rounds"])
    # The runtime's process holds no PyTorch.
    assert rows["student-onnx-fp32"]["peak_memory_mb"]["1"] < rows["student-pytorch"]["peak_memory_mb"]["1"]
    assert abs(rows["student-onnx-fp32"]["change"]) <= 0.005 and rows["student-onnx-fp32"]["kept"] is True
    assert result["split"] == "val"
    for row in (rows["student-onnx-fp32"], rows["student-pytorch"]):
        assert abs(row["test_change"]) <= 0.005 and row["test_photographs"] > 0
    assert result["threads"] == 2 and result["machine"]["cores"] >= 1 and result["quick"] is True
    table = (out / "benchmark.md").read_text()
    assert table in printed and "### Network, engine, precision" in table
    assert (out / "benchmark.png").stat().st_size > 10_000


def test_the_users_faults_are_one_sentence(
    command: Command,
    tiny_checkpoint: Path,
    synthetic_odir_course: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "file"
    file.touch()
    cases = [
        (["students=[onnx-int4]"], "valid: a list of onnx-fp32"),
        (["students=[onnx-fp32,onnx-fp32]"], "twice"),
        (["baselines=[resnet9]"], "valid: a list of resnet101"),
        (["reference=[pytorch]"], "valid: a list of onnx-fp32"),
        (["baseline_engines=[onnx]"], "valid: a list of onnx-fp32"),
        (["split=test"], "choose nothing"),
        (["int8_reduce_range=2"], "int8_reduce_range"),
        (["threads=0"], "threads"),
        (["batch=1"], "batch"),
        ([f"run_dir={file}"], "choose a folder"),
        (["ckpt=nowhere.ckpt"], "nowhere.ckpt"),
        (["images=nowhere"], "nowhere"),
        ([f"ckpt={tiny_checkpoint}", "data=odir", f"data.root={synthetic_odir_course}"], "data= of the same task"),
        ([f"ckpt={tiny_checkpoint}", "data=aptos", "data.root=nowhere"], "nowhere of aptos does not exist"),
    ]
    for words, part in cases:
        assert command("benchmark", *words) == 2, words
        said = capsys.readouterr().err
        assert part in said and "Traceback" not in said, (words, said)
