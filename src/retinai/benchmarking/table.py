"""The Markdown of a benchmark: goals, ratios first, then times, sizes and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retinai.benchmarking.contenders import STAGES


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the tables of a benchmark.

    Args:
        result: Content of `benchmark.json`.
    """
    rows = [row for row in result["rows"] if not row["reason"]]
    parts = [_machine_line(result), _headline(result), "### Goals\n\n" + _goals(result["goals"])]
    if rows:
        parts += ["### Speed and size\n\n" + _speed(rows), "### Where the time goes\n\n" + _stages(rows)]
    failed = [f"- {row['name']}: {row['reason']}" for row in result["rows"] if row["reason"]]
    if failed:
        parts.append("### Not measured\n\n" + "\n".join(failed))
    parts.append("\n".join(f"- {note}" for note in result["notes"]))
    return "\n\n".join(parts) + "\n"


def _machine_line(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {result['threads']} of {machine['cores']} cores used, load when it began "
        f"{machine['load_before']}, when it ended {machine['load_after']}; {versions}."
    )


def _headline(result: Mapping[str, Any]) -> str:
    details = result["student_vs_resnet101_details"]
    if details is None:
        return "ResNet-101 or the student was not measured, so there is no ratio."
    kept = {True: "keeps its metric", None: "is untrained, so it has no metric to keep"}[details["kept"]]
    return (
        f"**{details['name']} is {details['median']:.1f} times faster than ResNet-101 in PyTorch eager** (rounds "
        f"{details['low']:.1f} to {details['high']:.1f}; batch {details['batch']}, {details['input_size']} px, network "
        f"alone; by the time of all processors {details['by_processor_time']:.1f}); it {kept}."
    )


def _goals(goals: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for goal in goals:
        measured = "not measured" if goal["measured"] is None else f"{goal['measured']:z.3g}"
        verdict = {True: "met", False: "missed", None: "-"}[goal["met"]]
        lines.append(
            [goal["goal"], f"{'at most' if goal['at_most'] else 'at least'} {goal['target']:g}", measured, verdict]
        )
    return _table(["goal", "target", "measured", ""], lines, left=1)


def _speed(rows: Sequence[Mapping[str, Any]]) -> str:
    batches = list(rows[0]["network_ms"])
    headers = ["row", *(f"x ResNet-101, batch {b}" for b in batches), *(f"network ms, batch {b}" for b in batches)]
    headers += [f"JPEG to grade ms, batch {b}" for b in batches]
    headers += ["parameters M", "GMAC", "file MB", *(f"peak MB, batch {b}" for b in batches), "metric"]
    lines = []
    for row in rows:
        cells = [row["name"]]
        faster = row["times_faster_than_resnet101"]
        cells += [f"**{faster[b]['median']:.1f}**" if b in faster else "-" for b in batches]
        cells += [_range(row["network_ms"][b]) for b in batches] + [_range(row["jpeg_to_grade_ms"][b]) for b in batches]
        cells += [f"{row['parameters'] / 1e6:.1f}", "-" if row["macs"] is None else f"{row['macs'] / 1e9:.2f}"]
        cells += [f"{row['file_mb']:.1f}", *(f"{row['peak_memory_mb'][b]:.0f}" for b in batches), _metric(row)]
        lines.append(cells)
    return _table(headers, lines, left=1)


def _stages(rows: Sequence[Mapping[str, Any]]) -> str:
    batch = next(iter(rows[0]["stages_ms"]))
    headers = [f"milliseconds, batch {batch}", *STAGES, "JPEG to grade", "times the network alone"]
    lines = [
        [
            row["name"],
            *(f"{row['stages_ms'][batch][stage]['median']:.2f}" for stage in STAGES),
            f"{row['jpeg_to_grade_ms'][batch]['median']:.2f}",
            f"{row['jpeg_to_grade_vs_network'][batch]['median']:.2f}",
        ]
        for row in rows
    ]
    return _table(headers, lines, left=1)


def _range(times: Mapping[str, Any]) -> str:
    return f"{_ms(times['median'])} ({_ms(times['low'])} to {_ms(times['high'])})"


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _metric(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "-"
    return f"{row['metric']} {row['value']:.3f} ({row['change']:+.3f})"


def _table(headers: Sequence[str], lines: Sequence[Sequence[str]], left: int) -> str:
    rule = ["---" if index < left else "---:" for index in range(len(headers))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headers, rule, *lines))
