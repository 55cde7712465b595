"""The report's section on temperature and operating points: before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retinai.reports.sections import ReportSection, ReportTable
from retinai.reports.wording import with_interval

_POINTS = {
    "sensitivity": "fixed sensitivity",
    "specificity": "fixed specificity",
    "youden": "Youden's index",
    "bound": "promised sensitivity",
}


def calibration_section(results: Mapping[str, Any], referable_from: str | None) -> ReportSection:
    """Return the section.

    Args:
        results: `calibration` of `metrics.json`.
        referable_from: Name of the lowest grade that is referred; None for tasks without referral.
    """
    pooled = results.get("pooled")
    held_out = (pooled or {}).get("networks", 1) > 1
    chosen = "held-out training photographs" if held_out else "the validation split"
    said = [_of_networks(pooled) if pooled else _of_temperature(results["temperature"])]
    rows = [
        [label, with_interval(results[key]["before"]), with_interval(results[key]["after"])]
        for key, label in (("nll", "negative log-likelihood"), ("calibration_error", "calibration error"))
    ]
    tables = [ReportTable(("lower is better", "before", "after"), rows)]
    if results["operating_points"]:
        said.append(
            f"Operating points: an eye is referred when the probabilities of {referable_from} and worse add up to the "
            f"threshold or more. The thresholds were chosen on {chosen}; what they give here follows them."
        )
        tables.append(_points_table(results["operating_points"], "held out" if held_out else "validation"))
    if sets := results.get("sets"):
        said.append(
            f"Sets of grades that cannot be ruled out: {sets['level']:.0%} of them were promised to hold the true "
            f"grade; here {with_interval(sets['coverage'], 2)} do, with {with_interval(sets['mean_size'], 2)} grades "
            "each."
        )
    return ReportSection("Calibration and operating points", said, tables)


def _of_temperature(temperature: float) -> str:
    if temperature == 1:
        return (
            "The probabilities of this report are the network's own: on the validation split no temperature showed a "
            "gain by cross-validation."
        )
    effect = "softer" if temperature > 1 else "sharper"
    return (
        f"The probabilities of this report are scaled with temperature {temperature:.2f} ({effect} than the network's "
        "own), fitted on the validation split. The scaling changes no decision."
    )


def _of_networks(pooled: Mapping[str, Any]) -> str:
    low, high = pooled["asked"]
    asked = f"{low}" if low == high else f"{low} to {high}"
    if pooled["networks"] == 1:
        return (
            f"The probabilities of this report are the mean of {pooled['answers']} answers of the network about each "
            "photograph. Operating points and sets were chosen on validation photographs that were graded in this way."
        )
    return (
        f"The probabilities of this report are the mean of {pooled['networks']} networks, each with a temperature of "
        "its own or none. Operating points and sets were chosen on training photographs, each graded by those networks "
        f"that were not trained on it ({asked}). The mean of all is another grader than those, so what was promised is "
        "compared with what is found here."
    )


def _points_table(points: Mapping[str, Any], chosen: str) -> ReportTable:
    headers = ("chosen by", "threshold", f"{chosen}: sensitivity, specificity", "sensitivity here", "specificity here")
    rows = []
    for name, point in points.items():
        kind, _, level = name.partition("_")
        if level.endswith("_bound"):
            kind, level = "bound", level.removesuffix("_bound")
        seen = point["validation"]
        rows.append(
            [
                f"{_POINTS.get(kind, kind)}{f', {level} %' if level else ''}",
                f"{point['threshold']:.3f}",
                f"{seen['sensitivity']:.2f}, {seen['specificity']:.2f} (n = {seen['n']})",
                with_interval(point["sensitivity"], 2),
                with_interval(point["specificity"], 2),
            ]
        )
    return ReportTable(headers, rows)
