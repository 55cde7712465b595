"""From measured rounds to the content of `benchmark.json`: medians with their spread, ratios, goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retinai.benchmark.factors import take_apart
from retinai.benchmark.rounds import Measured
from retinai.benchmark.rows import REFERENCE, row_key
from retinai.benchmark.statistics import median, ratio, spread

# What an exported network may lose of its metric and still count as the same grader.
KEEPS = 0.005
FASTER, WITHIN, TOPOLOGY_MS = 18.0, 2.5, 10.0
WHOLE = "network alone, times faster than ResNet-101 in PyTorch (network x engine x precision)"


def summarise(measured: Sequence[Measured], checks: Mapping[str, Mapping[str, Any]], trained: bool) -> dict[str, Any]:
    """Return rows, ratios and goals.

    Args:
        measured: Of `measure`.
        checks: Key of a row -> the `check` of its folder on the split that chooses, with `test`, or `reason`.
        trained: Whether the student's metric means anything.

    Returns:
        `student_vs_resnet101` (a number, or None where one of the two is missing), its
        `student_vs_resnet101_details` with the `factors`; `goals`; `rows`.
    """
    by_key = {one.row.key: one for one in measured if not one.reason}
    reference = by_key.get(row_key(REFERENCE, "pytorch", "fp32"))
    rows = [_row(one, by_key, checks, trained) for one in measured]
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
    eager = by_key.get(row_key(one.row.network, "pytorch", "fp32"), one)
    macs = one.facts.get("macs") or eager.facts.get("macs")
    return None if macs is None else int(macs)


def _row(
    one: Measured, by_key: Mapping[str, Measured], checks: Mapping[str, Mapping[str, Any]], trained: bool
) -> dict[str, Any]:
    described = {key: value for key, value in one.row.to_dict().items() if key != "source"}
    if one.reason:
        return {**described, "reason": one.reason}
    batches, macs = sorted(one.megabytes), _macs(one, by_key)
    eager, alike = row_key(REFERENCE, "pytorch", "fp32"), row_key(REFERENCE, one.row.engine, one.row.precision)
    return {
        **described,
        "reason": "",
        "times_faster_than_resnet101": _faster(one, by_key.get(eager)),
        "times_faster_than_resnet101_alike": _faster(one, by_key.get(alike)),
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
        "memory_formats": one.facts.get("memory_formats"),
        **_agreement(one, checks, trained),
    }


def _faster(one: Measured, other: Measured | None) -> dict[str, Any]:
    """Return for each batch how many times longer the other network alone takes; nothing where there is no other."""
    if other is None:
        return {}
    return {str(b): ratio(other.seconds["network", b], one.seconds["network", b]) for b in sorted(one.megabytes)}


def _agreement(one: Measured, checks: Mapping[str, Mapping[str, Any]], trained: bool) -> dict[str, Any]:
    """Return the metric of a trained student's row, its change against PyTorch, and whether that is kept.

    What is kept is judged on the photographs of the checks, never on those of the test, which are told beside.
    """
    empty = {"metric": None, "largest_difference": None, "kept": None}
    empty |= dict.fromkeys(("value", "change", "photographs", "test_value", "test_change", "test_photographs"))
    if one.row.role != "student" or not trained:
        return empty
    eager = one.row.engine == "pytorch"
    check = next((c for c in checks.values() if "checkpoint" in c), None) if eager else checks[one.row.key]
    if check is None:
        return empty
    side = "checkpoint" if eager else "folder"
    value, change = _change(check, side)
    found = empty | {"metric": check["metric"], "value": value, "change": change, "photographs": check["photographs"]}
    found["kept"] = True if eager else None if change is None else bool(-change <= KEEPS + 1e-9)
    found["largest_difference"] = None if eager else check["largest_difference"]
    if "test" in check:
        found["test_value"], found["test_change"] = _change(check["test"], side)
        found["test_photographs"] = check["test"]["photographs"]
    return found


def _change(check: Mapping[str, Any], side: str) -> tuple[float | None, float | None]:
    """Return the metric of the checkpoint or the folder, and how it differs from the checkpoint's."""
    before, after = (check[s][check["metric"]] for s in ("checkpoint", side))
    return after, None if before is None or after is None else after - before


def _best(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the fastest row of the student that keeps its metric on validation, or of which nobody knows."""
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
        **{
            key: best[key]
            for key in ("value", "change", "photographs", "test_value", "test_change", "test_photographs")
        },
        "factors": take_apart(best, by_key, batch),
        "by_processor_time": ratio(theirs["processor", batch], ours["processor", batch])["median"],
        **against,
    }


def _goals(
    rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None, details: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Return each goal with what was measured; `met` is None where it was not."""
    faster = None if details is None else float(details["median"])
    goals = [
        _goal(WHOLE, FASTER, faster),
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
        goals.append(
            _goal(f"int8 in {name}, loss of {int8['metric'] or 'the metric'} on validation", KEEPS, lost, at_most=True)
        )
    return goals


def _goal(text: str, target: float, measured: float | None, at_most: bool = False) -> dict[str, Any]:
    met = None if measured is None else bool(measured <= target + 1e-9 if at_most else measured >= target - 1e-9)
    return {"goal": text, "target": target, "at_most": at_most, "measured": measured, "met": met}
