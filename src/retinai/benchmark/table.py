"""The Markdown of a benchmark: factors, goals, ratios, then times, sizes and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retinai.benchmark.contenders import STAGES
from retinai.benchmark.factors import FACTORS


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the tables of a benchmark.

    Args:
        result: Content of `benchmark.json`.
    """
    rows = [row for row in result["rows"] if not row["reason"]]
    parts = [_machine_line(result), _headline(result), *_factors(result), "### Goals\n\n" + _goals(result["goals"])]
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
    kept = {
        True: "it keeps its metric on validation",
        None: "it is untrained, or its metric undefined, so nothing is known to be kept",
    }[details["kept"]]
    return (
        f"**{details['name']}: ResNet-101 in PyTorch takes {details['median']:.1f} times as long** (rounds "
        f"{details['low']:.1f} to {details['high']:.1f}; batch {details['batch']}, {details['input_size']} px, network "
        f"alone; by the time of all processors {details['by_processor_time']:.1f}); {kept}. "
        "Three things make this number: the network, the engine and the precision."
    )


def _factors(result: Mapping[str, Any]) -> list[str]:
    details = result["student_vs_resnet101_details"]
    if details is None:
        return []
    parts = details["factors"]
    heads = [
        "times faster by", "network: student / ResNet-101", f"engine: {parts['engine']} fp32 / PyTorch fp32",
        f"precision: {parts['precision']} / fp32", "all three",
    ]  # fmt: skip
    ways = {
        "network_last": f"engine and precision with ResNet-101, then the network in {parts['together']}",
        "network_first": "the network in PyTorch, then engine and precision with the student",
    }
    lines = [
        [text, *(_times(parts[way][factor]) for factor in FACTORS), f"{details['median']:.1f}"]
        for way, text in ways.items()
        if parts[way] is not None
    ]
    found = ["### Network, engine, precision\n\n" + _table(heads, lines, left=1)] if lines else []
    if parts["missing"]:
        found.append(f"Not all factors can be told: {', '.join(parts['missing'])} was not measured.")
    return found


def _times(factor: Mapping[str, Any]) -> str:
    return f"**{factor['median']:.2f}** ({factor['low']:.2f} to {factor['high']:.2f})"


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
    headers = ["row", *(f"x ResNet-101 in the same engine and precision, batch {b}" for b in batches)]
    headers += [f"x ResNet-101 in PyTorch, batch {b}" for b in batches] + [f"network ms, batch {b}" for b in batches]
    headers += [f"JPEG to grade ms, batch {b}" for b in batches]
    headers += [
        "parameters M",
        "GMAC",
        "file MB",
        *(f"peak MB, batch {b}" for b in batches),
        "metric on validation",
        "on test",
    ]
    lines = []
    for row in rows:
        cells = [row["name"]]
        alike, whole = row["times_faster_than_resnet101_alike"], row["times_faster_than_resnet101"]
        cells += [f"**{alike[b]['median']:.1f}**" if b in alike else "-" for b in batches]
        cells += [f"{whole[b]['median']:.1f}" if b in whole else "-" for b in batches]
        cells += [_range(row["network_ms"][b]) for b in batches] + [_range(row["jpeg_to_grade_ms"][b]) for b in batches]
        cells += [f"{row['parameters'] / 1e6:.1f}", "-" if row["macs"] is None else f"{row['macs'] / 1e9:.2f}"]
        cells += [f"{row['file_mb']:.1f}", *(f"{row['peak_memory_mb'][b]:.0f}" for b in batches), _metric(row)]
        cells.append(_metric(row, "test_"))
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


def _metric(row: Mapping[str, Any], split: str = "") -> str:
    value, change = row[f"{split}value"], row[f"{split}change"]
    if value is None:
        return "-"
    changed = "" if change is None else f" ({change:+.3f})"
    return f"{row['metric']} {value:.3f}{changed}, n={row[f'{split}photographs']}"


def _table(headers: Sequence[str], lines: Sequence[Sequence[str]], left: int) -> str:
    rule = ["---" if index < left else "---:" for index in range(len(headers))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headers, rule, *lines))
