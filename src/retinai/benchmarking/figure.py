"""The figure of a benchmark: bars of the network alone and of the way from JPEG to grade."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from retinai.reports.style import COLOURS, FAINT, INK, new_figure


def speed_figure(result: Mapping[str, Any]) -> Figure:
    """Draw milliseconds per photograph at the smallest batch on a logarithmic scale, fastest network on top.

    Args:
        result: Content of `benchmark.json`, with at least one measured row.
    """
    rows = [row for row in result["rows"] if not row["reason"]]
    batch = min(rows[0]["network_ms"], key=int)
    rows.sort(key=lambda row: row["network_ms"][batch]["median"], reverse=True)
    figure, (axes,) = new_figure(8.2, 1.4 + 0.42 * len(rows))
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
    return figure
