"""Ratios, goals and the table from rounds by hand."""

from __future__ import annotations

import json
import math

import pytest

from retinai.benchmark.factors import FACTORS
from retinai.benchmark.figure import speed_figure
from retinai.benchmark.rounds import Measured
from retinai.benchmark.rows import Row
from retinai.benchmark.statistics import ratio, spread
from retinai.benchmark.summary import summarise
from retinai.benchmark.table import to_markdown


def measured(
    key: str, role: str, engine: str, precision: str, network: list[float], grade: list[float], topology: float = 0.0
) -> Measured:
    row = Row(key, key, role, key.split("-")[0], engine, precision, "nowhere", 224, topology > 0)
    one = Measured(row, megabytes={1: 100.0, 32: 200.0})
    one.facts = {"parameters": 5_000_000, "macs": 400_000_000 if engine == "pytorch" else None, "bytes": 2_000_000,
                 "load_seconds": 0.5}  # fmt: skip
    if engine == "pytorch":
        one.facts["memory_formats"] = {"1": "channels_last", "32": "contiguous"}
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


def check(before: float, after: float, test: tuple[float, float] | None = None) -> dict:
    found = {"metric": "qwk", "checkpoint": {"qwk": before}, "folder": {"qwk": after}, "photographs": 80,
             "largest_difference": 0.02}  # fmt: skip
    return found if test is None else found | {"test": check(*test) | {"photographs": 37}}


@pytest.fixture
def rows() -> list[Measured]:
    return [
        measured("student-pytorch", "student", "pytorch", "fp32", [0.02] * 3, [0.03] * 3),
        measured("student-openvino-fp32", "student", "openvino", "fp32", [0.008, 0.008, 0.016], [0.012, 0.012, 0.03]),
        measured("student-openvino-int8", "student", "openvino", "int8", [0.004, 0.004, 0.008], [0.008, 0.008, 0.02]),
        measured("twin-openvino-int8", "twin", "openvino", "int8", [0.001] * 3, [0.008] * 3, topology=0.007),
        measured("resnet101-pytorch", "baseline", "pytorch", "fp32", [0.1, 0.12, 0.24], [0.11, 0.13, 0.25]),
        measured("resnet101-openvino-fp32", "baseline", "openvino", "fp32", [0.05, 0.06, 0.08], [0.06, 0.07, 0.09]),
        measured("resnet101-openvino-int8", "baseline", "openvino", "int8", [0.02, 0.02, 0.04], [0.03, 0.03, 0.05]),
    ]


CHECKS = {"student-openvino-fp32": check(0.8, 0.8, (0.7, 0.7)), "student-openvino-int8": check(0.8, 0.797, (0.7, 0.6))}


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
    assert by_key["student-pytorch"]["value"] == 0.8 and by_key["resnet101-pytorch"]["value"] is None
    assert by_key["student-openvino-int8"]["macs"] == 400_000_000  # those of its checkpoint
    assert by_key["student-openvino-int8"]["network_ms"]["32"]["median"] == pytest.approx(4)  # per photograph
    assert by_key["resnet101-pytorch"]["times_faster_than_resnet101"]["1"]["median"] == pytest.approx(1)
    assert by_key["student-openvino-int8"]["times_faster_than_resnet101_alike"]["1"]["median"] == pytest.approx(5)
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


def test_three_factors_multiply_to_the_whole_in_every_round(rows: list[Measured]) -> None:
    details = summarise(rows, CHECKS, trained=True)["student_vs_resnet101_details"]
    factors = details["factors"]
    assert factors["missing"] == [] and factors["together"] == "OpenVINO int8"
    # One thing changes at each step. ResNet-101: 100, 120, 240 ms; 50, 60, 80 in OpenVINO; 20, 20, 40 in int8.
    last, first = factors["network_last"], factors["network_first"]
    assert last["engine"]["rounds"] == pytest.approx([2, 2, 3])
    assert last["precision"]["rounds"] == pytest.approx([2.5, 3, 2])
    assert last["network"]["rounds"] == pytest.approx([5, 5, 5])
    # The student: 20, 20, 20 ms; 8, 8, 16 in OpenVINO; 4, 4, 8 in int8.
    assert first["network"]["rounds"] == pytest.approx([5, 6, 12])
    assert first["engine"]["rounds"] == pytest.approx([2.5, 2.5, 1.25])
    assert first["precision"]["rounds"] == pytest.approx([2, 2, 2])
    for way in (first, last):
        product = [math.prod(steps) for steps in zip(*(way[name]["rounds"] for name in FACTORS), strict=True)]
        assert product == pytest.approx(details["rounds"])


def test_a_factor_without_its_rows_is_told_as_missing(rows: list[Measured]) -> None:
    del rows[5]
    result = summarise(rows, CHECKS, trained=True)
    factors = result["student_vs_resnet101_details"]["factors"]
    assert factors["missing"] == ["resnet101-openvino-fp32"] and factors["network_last"] is None
    assert factors["network_first"]["network"]["median"] == pytest.approx(6)
    page = to_markdown({**result, **SURROUNDINGS})
    assert "resnet101-openvino-fp32 was not measured" in page and "engine and precision with ResNet-101" not in page
    assert len(speed_figure({**result, **SURROUNDINGS}).axes[0].patches) == 3
    # A row of PyTorch owes nothing to engine and precision.
    slow = [rows[0], next(row for row in rows if row.row.key == "resnet101-pytorch")]
    eager = summarise(slow, CHECKS, trained=True)["student_vs_resnet101_details"]["factors"]
    assert [eager["network_last"][name]["median"] for name in FACTORS] == pytest.approx([6, 1, 1])


def test_the_test_photographs_choose_nothing(rows: list[Measured]) -> None:
    # int8 loses 0.1 on test and 0.003 on validation; then the other way round.
    details = summarise(rows, CHECKS, trained=True)["student_vs_resnet101_details"]
    assert details["row"] == "student-openvino-int8" and details["kept"] is True
    assert details["test_change"] == pytest.approx(-0.1) and details["test_photographs"] == 37
    turned = CHECKS | {"student-openvino-int8": check(0.8, 0.7, (0.7, 0.7))}
    result = summarise(rows, turned, trained=True)
    assert result["student_vs_resnet101_details"]["row"] == "student-openvino-fp32"
    eager = next(row for row in result["rows"] if row["key"] == "student-pytorch")
    assert (eager["value"], eager["test_value"], eager["test_change"], eager["kept"]) == (0.8, 0.7, 0.0, True)


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
    assert "### Network, engine, precision" in page
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
    assert "student-openvino-int8: ResNet-101 in PyTorch takes 30.0 times as long" in page
    assert "it keeps its metric on validation" in page
    begin = "| student-openvino-int8 | **5.0** | **5.0** | 30.0"
    line = next(line for line in page.splitlines() if line.startswith(begin))
    assert "4.00 (4.00 to 8.00)" in line and "| 0.40 | 2.0 |" in line
    assert "qwk 0.797 (-0.003), n=80 | qwk 0.600 (-0.100), n=37 |" in line
    # By hand, medians of three rounds: 5, 5, 5; 2, 2, 3; 2.5, 3, 2.
    assert "**5.00** (5.00 to 5.00) | **2.00** (2.00 to 3.00) | **2.50** (2.00 to 3.00) | 30.0 |" in page
    assert len({line.count("|") for line in page.splitlines() if line.startswith("| student") and "**" in line}) == 1
    factors, axes = speed_figure(result).axes
    ends = [float(bar.get_x() + bar.get_width()) for bar in factors.patches]
    assert ends == pytest.approx([6, 15, 30, 2, 5, 25])  # 6 x 2.5 x 2 and 2 x 2.5 x 5, the factors' medians
    assert "network" in [text.get_text() for text in factors.get_legend().get_texts()]
    assert axes.get_xscale() == factors.get_xscale() == "log"
    assert axes.get_yticklabels()[-1].get_text() == "twin-openvino-int8"  # the fastest on top
    assert len(axes.patches) == 2 * len(rows)
