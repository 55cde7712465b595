"""From measured rounds to the content of `benchmark.json`: medians with their spread, ratios, goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retinai.benchmarking.rounds import Measured, median
from retinai.benchmarking.rows import REFERENCE

# What an exported network may lose of its metric and still count as the same grader.
KEEPS = 0.005
FASTER, WITHIN, TOPOLOGY_MS = 18.0, 2.5, 10.0


def spread(values: Sequence[float], scale: float = 1.0) -> dict[str, Any]:
    """Return median, lowest and highest of the rounds, and the rounds themselves, times `scale`."""
    scaled = [value * scale for value in values]
    return {"median": median(scaled), "low": min(scaled), "high": max(scaled), "rounds": scaled}


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """Return how many times longer `above` takes than `below`: each round against the same round of the other."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def summarise(measured: Sequence[Measured], checks: Mapping[str, Mapping[str, Any]], trained: bool) -> dict[str, Any]:
    """Return rows, ratios and goals.

    Args:
        measured: Of `measure`.
        checks: Key of a row -> the `check` of its folder, or `reason`.
        trained: Whether the student's metric means anything.

    Returns:
        `student_vs_resnet101` (a number, or None where one of the two is missing) and its
        `student_vs_resnet101_details`; `goals`; `rows`.
    """
    by_key = {one.row.key: one for one in measured if not one.reason}
    reference = by_key.get(REFERENCE)
    rows = [_row(one, reference, checks, trained, _macs(one, by_key)) for one in measured]
    best = _best(rows)
    details = _details(best, by_key, reference)
    return {
        "student_vs_resnet101": None if details is None else details["median"],
        "student_vs_resnet101_details": details,
        "goals": _goals(rows, best, details),
        "rows": rows,
    }


def _macs(one: Measured, by_key: Mapping[str, Measured]) -> int | None:
    """Return multiply-adds; an exported network has those of its checkpoint."""
    eager = by_key.get(f"{one.row.role}-pytorch", one)
    macs = one.facts.get("macs") or eager.facts.get("macs")
    return None if macs is None else int(macs)


def _row(
    one: Measured,
    reference: Measured | None,
    checks: Mapping[str, Mapping[str, Any]],
    trained: bool,
    macs: int | None,
) -> dict[str, Any]:
    described = {key: value for key, value in one.row.to_dict().items() if key != "source"}
    if one.reason:
        return {**described, "reason": one.reason}
    batches = sorted(one.megabytes)
    return {
        **described,
        "reason": "",
        "times_faster_than_resnet101": {
            str(b): ratio(reference.seconds["network", b], one.seconds["network", b]) for b in batches
        }
        if reference is not None
        else {},
        "network_ms": {str(b): spread(one.seconds["network", b], 1000 / b) for b in batches},
        "network_processor_ms": {str(b): spread(one.seconds["processor", b], 1000 / b) for b in batches},
        "jpeg_to_grade_ms": {str(b): spread(one.seconds["grade", b], 1000 / b) for b in batches},
        "jpeg_to_grade_vs_network": {
            str(b): ratio(one.seconds["grade", b], one.seconds["network", b]) for b in batches
        },
        "stages_ms": {
            str(b): {stage: spread(values, 1000 / b) for stage, values in one.stages[b].items()} for b in batches
        },
        "parameters": one.facts["parameters"],
        "macs": macs,
        "flops": None if macs is None else 2 * macs,
        "file_mb": one.facts["bytes"] / 1e6,
        "peak_memory_mb": {str(b): one.megabytes[b] for b in batches},
        "load_seconds": one.facts["load_seconds"],
        **_agreement(one, checks, trained),
    }


def _agreement(one: Measured, checks: Mapping[str, Mapping[str, Any]], trained: bool) -> dict[str, Any]:
    """Return the metric of a trained student's row, its change against PyTorch, and whether that is kept."""
    empty = {"metric": None, "value": None, "change": None, "largest_difference": None, "kept": None}
    if one.row.role != "student" or not trained:
        return empty
    if one.row.engine == "pytorch":
        some = next((check for check in checks.values() if "checkpoint" in check), None)
        if some is None:
            return empty
        value = some["checkpoint"][some["metric"]]
        return {**empty, "metric": some["metric"], "value": value, "change": 0.0, "kept": True}
    check = checks[one.row.key]
    before, after = (check[side][check["metric"]] for side in ("checkpoint", "folder"))
    known = before is not None and after is not None
    return {
        "metric": check["metric"],
        "value": after,
        "change": after - before if known else None,
        "largest_difference": check["largest_difference"],
        "kept": bool(before - after <= KEEPS + 1e-9) if known else None,
    }


def _best(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the fastest row of the student that keeps its metric, or of which nobody knows."""
    fit = [r for r in rows if r["role"] == "student" and not r["reason"] and r["kept"] is not False]
    return min(fit, key=lambda r: _first(r["network_ms"])["median"], default=None)


def _first(by_batch: Mapping[str, Any]) -> Any:
    """Return the entry of the smallest batch."""
    return by_batch[min(by_batch, key=int)]


def _details(
    best: Mapping[str, Any] | None, by_key: Mapping[str, Measured], reference: Measured | None
) -> dict[str, Any] | None:
    if best is None or reference is None:
        return None
    batch = min(by_key[best["key"]].megabytes)
    ours, theirs = by_key[best["key"]].seconds, reference.seconds
    against = ratio(theirs["network", batch], ours["network", batch])
    return {
        "row": best["key"],
        "name": best["name"],
        "batch": batch,
        "input_size": best["input_size"],
        "kept": best["kept"],
        "metric": best["metric"],
        "value": best["value"],
        "by_processor_time": ratio(theirs["processor", batch], ours["processor", batch])["median"],
        **against,
    }


def _goals(
    rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None, details: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Return each goal with what was measured; `met` is None where it was not."""
    faster = None if details is None else float(details["median"])
    goals = [
        _goal("the student's network alone, times faster than ResNet-101 in PyTorch", FASTER, faster),
        *_int8_goals(rows),
    ]
    within = None if best is None else _first(best["jpeg_to_grade_vs_network"])["median"]
    goals.append(_goal("from JPEG bytes to the grade, times the network alone", WITHIN, within, at_most=True))
    stages = [_first(r["stages_ms"])["topology"]["median"] for r in rows if r["topology"] and not r["reason"]]
    found = median(stages) if stages else None
    goals.append(_goal("topology of one photograph, milliseconds", TOPOLOGY_MS, found, at_most=True))
    return goals


def _int8_goals(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    goals = []
    whole = {r["key"]: r for r in rows if r["role"] == "student" and not r["reason"]}
    for engine, name in (("onnx", "ONNX Runtime"), ("openvino", "OpenVINO")):
        fp32, int8 = (whole.get(f"student-{engine}-{precision}") for precision in ("fp32", "int8"))
        if fp32 is None or int8 is None:
            continue
        gained = ratio(_first(fp32["network_ms"])["rounds"], _first(int8["network_ms"])["rounds"])["median"]
        goals.append(_goal(f"int8 in {name}, times faster than its fp32", 1.0, gained))
        lost = None if int8["change"] is None else -int8["change"]
        goals.append(_goal(f"int8 in {name}, loss of {int8['metric'] or 'the metric'}", KEEPS, lost, at_most=True))
    return goals


def _goal(text: str, target: float, measured: float | None, at_most: bool = False) -> dict[str, Any]:
    met = None if measured is None else bool(measured <= target + 1e-9 if at_most else measured >= target - 1e-9)
    return {"goal": text, "target": target, "at_most": at_most, "measured": measured, "met": met}
