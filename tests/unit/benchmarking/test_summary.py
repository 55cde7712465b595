"""Ratios, goals and the table from rounds by hand."""

from __future__ import annotations

import json

import pytest

from retinai.benchmarking.figure import speed_figure
from retinai.benchmarking.rounds import Measured
from retinai.benchmarking.rows import Row
from retinai.benchmarking.summary import ratio, spread, summarise
from retinai.benchmarking.table import to_markdown


def measured(
    key: str, role: str, engine: str, precision: str, network: list[float], grade: list[float], topology: float = 0.0
) -> Measured:
    row = Row(key, key, role, engine, precision, "nowhere", 224, topology > 0)
    one = Measured(row, megabytes={1: 100.0, 32: 200.0})
    one.facts = {"parameters": 5_000_000, "macs": 400_000_000 if engine == "pytorch" else None, "bytes": 2_000_000,
                 "load_seconds": 0.5}  # fmt: skip
    one.seconds = {
        ("network", 1): network, ("grade", 1): grade,
        ("network", 32): [32 * s for s in network], ("grade", 32): [32 * s for s in grade],
        ("processor", 1): [2 * s for s in network], ("processor", 32): [64 * s for s in network],
    }  # fmt: skip
    stages = {"decode": [0.004] * 3, "prepare": [0.001] * 3, "topology": [topology] * 3, "network": network}
    one.stages = {1: stages, 32: stages}
    for batch in (1, 32):
        one.stages[batch] = {**stages, "decide": [0.0001] * 3}
    return one


def check(before: float, after: float) -> dict:
    return {"metric": "qwk", "checkpoint": {"qwk": before}, "folder": {"qwk": after}, "largest_difference": 0.02}


@pytest.fixture
def rows() -> list[Measured]:
    return [
        measured("student-pytorch", "student", "pytorch", "fp32", [0.02] * 3, [0.03] * 3),
        measured("student-openvino-fp32", "student", "openvino", "fp32", [0.008, 0.008, 0.016], [0.012, 0.012, 0.03]),
        measured("student-openvino-int8", "student", "openvino", "int8", [0.004, 0.004, 0.008], [0.008, 0.008, 0.02]),
        measured("twin-openvino-int8", "twin", "openvino", "int8", [0.001] * 3, [0.008] * 3, topology=0.007),
        measured("resnet101", "beside", "pytorch", "fp32", [0.1, 0.12, 0.24], [0.11, 0.13, 0.25]),
    ]


CHECKS = {"student-openvino-fp32": check(0.8, 0.8), "student-openvino-int8": check(0.8, 0.797)}


def test_ratios_compare_each_round_with_the_same_round() -> None:
    # A machine at half its speed in the last round slows both, and the ratio stays.
    assert ratio([0.1, 0.2], [0.01, 0.02])["rounds"] == pytest.approx([10, 10])
    assert spread([3.0, 1.0, 2.0], 10) == {"median": 20, "low": 10, "high": 30, "rounds": [30, 10, 20]}


def test_the_best_row_that_keeps_its_metric_is_set_against_resnet101(rows: list[Measured]) -> None:
    result = summarise(rows, CHECKS, trained=True)
    assert result["student_vs_resnet101"] == pytest.approx(30)  # rounds 25, 30, 30
    details = result["student_vs_resnet101_details"]
    assert details["row"] == "student-openvino-int8" and details["rounds"] == pytest.approx([25, 30, 30])
    assert (details["batch"], details["input_size"], details["kept"]) == (1, 224, True)
    assert details["by_processor_time"] == pytest.approx(30)
    by_key = {row["key"]: row for row in result["rows"]}
    assert by_key["student-openvino-int8"]["change"] == pytest.approx(-0.003)
    assert by_key["student-pytorch"]["value"] == 0.8 and by_key["resnet101"]["value"] is None
    assert by_key["student-openvino-int8"]["macs"] == 400_000_000  # those of its checkpoint
    assert by_key["student-openvino-int8"]["network_ms"]["32"]["median"] == pytest.approx(4)  # per photograph
    assert by_key["resnet101"]["times_faster_than_resnet101"]["1"]["median"] == pytest.approx(1)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_row_that_loses_its_metric_is_not_the_best(rows: list[Measured]) -> None:
    result = summarise(rows, CHECKS | {"student-openvino-int8": check(0.8, 0.79)}, trained=True)
    assert result["student_vs_resnet101_details"]["row"] == "student-openvino-fp32"
    assert next(row for row in result["rows"] if row["key"] == "student-openvino-int8")["kept"] is False
    undefined = summarise(rows, CHECKS | {"student-openvino-int8": check(0.8, None)}, trained=True)  # type: ignore[arg-type]
    assert undefined["student_vs_resnet101_details"]["kept"] is None
    # Nobody knows what an untrained one keeps; its fastest row counts, and says so.
    untrained = summarise(rows, CHECKS, trained=False)
    assert untrained["student_vs_resnet101_details"]["kept"] is None
    assert untrained["student_vs_resnet101_details"]["row"] == "student-openvino-int8"  # never the twin


def test_goals(rows: list[Measured]) -> None:
    goals = {goal["goal"]: goal for goal in summarise(rows, CHECKS, trained=True)["goals"]}
    found = [(round(goal["measured"], 4), goal["met"]) for goal in goals.values()]
    assert found == [
        (30.0, True),
        (2.0, True),  # int8 against fp32
        (0.003, True),  # QWK lost
        (2.0, True),  # JPEG to grade against the network: 2, 2, 2.5
        (7.0, True),  # topology
    ]
    missed = summarise(rows, {"student-openvino-fp32": check(0.8, 0.8), "student-openvino-int8": check(0.8, 0.7)}, True)
    assert [goal["met"] for goal in missed["goals"]] == [False, True, False, True, True]


def test_a_row_that_failed_is_told_and_the_others_stand(rows: list[Measured]) -> None:
    rows[2] = Measured(rows[2].row, reason="its process ended with code -9")
    checks = {**CHECKS, "student-openvino-int8": {"reason": "its process ended with code -9"}}
    result = summarise(rows, checks, trained=True)
    assert result["student_vs_resnet101_details"]["row"] == "student-openvino-fp32"
    page = to_markdown({**result, **SURROUNDINGS})
    assert "its process ended with code -9" in page and "### Not measured" in page
    rows[4] = Measured(rows[4].row, reason="gone")
    result = summarise(rows, checks, trained=True)
    assert result["student_vs_resnet101"] is None and result["goals"][0]["met"] is None
    assert "there is no ratio" in to_markdown({**result, **SURROUNDINGS})


SURROUNDINGS = {
    "threads": 2,
    "machine": {"processor": "P", "cores": 2, "load_before": "0.1", "load_after": "0.2", "versions": {"torch": "2"}},
    "notes": ["a note"],
}


def test_table_and_figure_say_the_numbers(rows: list[Measured]) -> None:
    result = {**summarise(rows, CHECKS, trained=True), **SURROUNDINGS}
    page = to_markdown(result)
    assert "student-openvino-int8 is 30.0 times faster than ResNet-101" in page and "keeps its metric" in page
    line = next(line for line in page.splitlines() if line.startswith("| student-openvino-int8 | **30.0**"))
    assert "4.00 (4.00 to 8.00)" in line and "qwk 0.797 (-0.003)" in line and "| 0.40 | 2.0 |" in line
    assert len({line.count("|") for line in page.splitlines() if line.startswith("| student") and "**" in line}) == 1
    axes = speed_figure(result).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_yticklabels()[-1].get_text() == "twin-openvino-int8"  # the fastest on top
    assert len(axes.patches) == 2 * len(rows)
