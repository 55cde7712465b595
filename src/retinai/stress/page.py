"""The figure of a stress test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from retinai.reports.style import FAINT, clean, line_style, new_figure
from retinai.stress.variants import ROTATION


def curves(rows: Sequence[Mapping[str, Any]], label: str) -> Figure:
    """Draw the metric against severity, a line per kind, and against the angle.

    Args:
        rows: Of `variant_rows`.
        label: Name of the metric.
    """
    figure, axes = new_figure(9.5, 4.2, 1, 2)
    left, right = list(axes.flat) if hasattr(axes, "flat") else axes
    start = rows[0]["value"]
    kinds = [kind for kind in dict.fromkeys(row["kind"] for row in rows[1:]) if kind != ROTATION]
    for number, kind in enumerate(kinds):
        own = [row for row in rows if row["kind"] == kind and row.get("value") is not None]
        x, y = [0, *(row["severity"] for row in own)], [start, *(row["value"] for row in own)]
        left.plot(x, y, label=kind, **line_style(number))
    left.set_xlabel("severity")
    left.set_ylabel(label)
    left.legend(fontsize=7, ncols=2)
    turned = [row for row in rows if row["kind"] == ROTATION and row.get("value") is not None]
    right.plot([0, *(row["severity"] for row in turned)], [start, *(row["value"] for row in turned)], **line_style(0))
    right.axhline(start, color=FAINT, linewidth=0.8)
    right.set_xlabel("turned by (degrees)")
    for axis in (left, right):
        clean(axis)
    return figure
