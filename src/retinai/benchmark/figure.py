"""The figure of a benchmark: bars of the network alone and of the way from JPEG to grade, and the three factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retinai.benchmark.factors import FACTORS
from retinai.reports.style import COLOURS, FAINT, INK, new_figure

_ORDER = {"network_last": ("engine", "precision", "network"), "network_first": ("network", "engine", "precision")}
_WAYS = {"network_last": "engine and precision\nwith ResNet-101", "network_first": "engine and precision\nwith student"}


def speed_figure(result: Mapping[str, Any]) -> Figure:
    """Draw the factors of the speed-up, where they are known, above milliseconds per photograph, both logarithmic.

    Args:
        result: Content of `benchmark.json`, with at least one measured row.
    """
    rows = [row for row in result["rows"] if not row["reason"]]
    details = result["student_vs_resnet101_details"]
    ways = [way for way in _WAYS if details is not None and details["factors"][way] is not None]
    height = 1.4 + 0.42 * len(rows)
    heights = [1.9, height] if ways else [height]
    figure, axes = new_figure(8.2, sum(heights), rows=len(heights), heights=heights)
    if ways:
        _draw_factors(axes[0], details, ways)
    _draw_times(axes[-1], rows)
    return figure


def _draw_factors(axes: Axes, details: Mapping[str, Any], ways: Sequence[str]) -> None:
    """Draw a bar per way; on a logarithmic scale the factors' lengths add up to the whole."""
    for place, way in enumerate(reversed(ways)):
        reached = 1.0
        for factor in _ORDER[way]:
            value = float(details["factors"][way][factor]["median"])
            axes.barh(place, reached * value - reached, 0.5, left=reached, color=COLOURS[FACTORS.index(factor) + 1],
                      label=factor if place == 0 else None)  # fmt: skip
            if abs(value - 1) > 0.05:
                axes.text(reached * value**0.5, place, f"{value:.2g}", ha="center", va="center", color="white",
                          fontsize=9, fontweight="bold")  # fmt: skip
            reached *= value
        axes.text(max(reached, 1) * 1.05, place, f"{details['median']:.3g}", va="center", fontsize=9, color=INK)
    axes.set_xscale("log")
    axes.set_yticks(range(len(ways)), [_WAYS[way] for way in reversed(ways)], fontsize=9)
    axes.set_xlabel(f"times faster than ResNet-101 in PyTorch:\n{details['name']}", fontsize=10)
    axes.set_xlim(left=min(1.0, axes.get_xlim()[0]))
    axes.margins(x=0.1)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.32), ncols=3, fontsize=9, frameon=False)


def _draw_times(axes: Axes, rows: list[Mapping[str, Any]]) -> None:
    """Draw two bars per row, fastest network on top."""
    batch = min(rows[0]["network_ms"], key=int)
    rows.sort(key=lambda row: row["network_ms"][batch]["median"], reverse=True)
    bars = (("network_ms", "network alone", COLOURS[0], 0.19), ("jpeg_to_grade_ms", "JPEG to grade", COLOURS[4], -0.19))
    for key, label, colour, shift in bars:
        times = [row[key][batch] for row in rows]
        middle = [time["median"] for time in times]
        reach = [[m - t["low"] for m, t in zip(middle, times, strict=True)],
                 [t["high"] - m for m, t in zip(middle, times, strict=True)]]  # fmt: skip
        places = [place + shift for place in range(len(rows))]
        axes.barh(places, middle, 0.36, xerr=reach, color=colour, label=label,
                  error_kw={"ecolor": FAINT, "elinewidth": 1})  # fmt: skip
        for place, value, time in zip(places, middle, times, strict=True):
            axes.text(time["high"] * 1.06, place, f"{value:.3g}", va="center", fontsize=8, color=INK)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=9)
    axes.set_xlabel(f"ms per photograph, batch {batch} (lines: all rounds)", fontsize=10)
    axes.margins(x=0.12)
    axes.legend(loc="upper right", fontsize=9)  # the fastest are on top, so there is room
