"""Learning curves from the `metrics.csv` of a training run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from retinai.reports.style import FAINT, FRAME, line_style, new_figure

_LOSSES = ("train/loss", "val/loss")


def learning_curves_figure(metrics_csv: str | Path, monitor: str = "", mode: str = "max") -> Figure | None:
    """Draw the losses and the validation metrics over the epochs.

    Args:
        metrics_csv: One row per epoch: `epoch`, `train/loss`, `val/loss`, `val/<metric>`, ...
        monitor: The metric that chose the best epoch, which is marked.
        mode: Whether high (`max`) or low values (`min`) of it are good.

    Returns:
        The figure; None when the file is missing or holds no finished epoch.
    """
    path = Path(metrics_csv)
    if not path.exists() or path.stat().st_size == 0:
        return None
    table = pd.read_csv(path)
    if "epoch" not in table or table.empty:
        return None
    # One row per epoch is the rule; should a row be split over several, the last known value of each counts.
    table = table.groupby("epoch").last()
    columns = [str(c) for c in table]
    metrics = [c for c in columns if c.startswith("val/") and c not in _LOSSES and table[c].notna().any()]
    losses = [c for c in _LOSSES if c in columns and table[c].notna().any()]
    if not metrics and not losses:
        return None
    figure, (upper, lower) = new_figure(5.2, 5.6, rows=2)
    _draw(upper, table, losses, "loss")
    _draw(lower, table, metrics, "validation")
    if monitor in table and table[monitor].notna().any():
        row = table[monitor].argmin() if mode == "min" else table[monitor].argmax()
        best = int(table.index.to_numpy()[int(row)])
        for axes in (upper, lower):
            axes.axvline(best, color=FAINT, linewidth=1, linestyle=":")
        lower.set_title(f"dotted: best epoch by {monitor} ({best})", fontsize=9)
    lower.set_xlabel("epoch", fontsize=10)
    return figure


def _draw(axes: Axes, table: pd.DataFrame, columns: list[str], label: str) -> None:
    for index, column in enumerate(columns):
        values = table[column].dropna()
        marker = "o" if len(values) < 12 else None
        name = column if column in _LOSSES else column.removeprefix("val/")
        axes.plot(values.index, values, marker=marker, markersize=3, label=name, **line_style(index))
    axes.set_ylabel(label, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if columns:
        axes.legend(fontsize=8.5, ncols=2, framealpha=0.9, edgecolor=FRAME)
