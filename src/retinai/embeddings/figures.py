"""Figures of probes: scores with intervals, scores by amount of labels, average ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from retinai.embeddings.comparison import Ranks
from retinai.reports.style import FAINT, INK, line_style, new_figure


def scores_figure(scores: Mapping[str, Mapping[str, Mapping[str, float | None]]], label: str) -> Figure:
    """Draw the score of each file on each target, with its interval.

    Args:
        scores: Target -> file -> `{"value", "low", "high"}`.
        label: Name of the score.
    """
    names = list(next(iter(scores.values())))
    figure, (axes,) = new_figure(6.2, 1.2 + 0.17 * len(scores) * (1 + len(names)))
    for number, name in enumerate(names):
        places, values, below, above = [], [], [], []
        for row, by_file in enumerate(scores.values()):
            found = by_file.get(name) or {}
            value = found.get("value")
            if value is None:
                continue
            low, high = found.get("low"), found.get("high")
            places.append(row * (1 + len(names)) + number)
            values.append(value)
            below.append(0.0 if low is None else max(value - low, 0.0))
            above.append(0.0 if high is None else max(high - value, 0.0))
        colour = line_style(number)["color"]
        axes.errorbar(values, places, xerr=[below, above], fmt="o", color=colour, markersize=4, capsize=2, label=name)
    axes.set_yticks([row * (1 + len(names)) + (len(names) - 1) / 2 for row in range(len(scores))], list(scores))
    axes.invert_yaxis()
    axes.set_xlabel(label, color=INK)
    axes.legend(fontsize=8, frameon=False, loc="best")
    return figure


def few_shots_figure(rows: Sequence[Mapping[str, Any]], label: str) -> Figure:
    """Draw the mean score over targets and draws by the share of the training patients.

    Args:
        rows: With `embeddings`, `percent` and `score`.
        label: Name of the score.
    """
    figure, (axes,) = new_figure()
    for number, name in enumerate(dict.fromkeys(row["embeddings"] for row in rows)):
        percents = sorted({row["percent"] for row in rows})
        scores = [
            [r["score"] for r in rows if (r["embeddings"], r["percent"]) == (name, p) and r["score"] is not None]
            for p in percents
        ]
        means = [float(np.mean(s)) if s else np.nan for s in scores]
        style = line_style(number)
        axes.plot(percents, means, label=name, marker="o", markersize=4, **style)
        low, high = (np.array([np.percentile(s, q) if s else np.nan for s in scores]) for q in (10, 90))
        axes.fill_between(percents, low, high, color=style["color"], alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks(percents, [f"{p:g}" for p in percents])
    axes.minorticks_off()
    axes.set_xlabel("training patients with a label, percent", color=INK)
    axes.set_ylabel(f"{label}, mean; band: 10 to 90 % of draws and targets", color=INK, fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    return figure


def ranks_figure(ranks: Ranks) -> Figure:
    """Draw average ranks on a line; bars join files whose ranks differ by less than the critical difference."""
    ordered = sorted(ranks.ranks.items(), key=lambda item: item[1])
    k, difference = len(ordered), ranks.critical_difference
    figure, (axes,) = new_figure(6.2, 1.5 + 0.28 * k)
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.set_xlim(0.9, k + 0.1)
    axes.set_ylim(-k - 1.5, 1.2)
    axes.xaxis.set_ticks_position("top")
    axes.spines["bottom"].set_visible(False)
    axes.axhline(1.2, color=INK, linewidth=1)
    for row, (name, rank) in enumerate(ordered):
        axes.plot([rank, rank], [1.2, -row - 1], color=INK, linewidth=0.8)
        right = row >= k / 2
        axes.text(rank, -row - 1, f"{name} ({rank:.2f})", ha="right" if right else "left", va="top", fontsize=9)
    height = 0.8
    for start, (_, first) in enumerate(ordered):
        together = [rank for _, rank in ordered[start:] if rank - first < difference]
        covered = start and ordered[start - 1][1] + difference > together[-1]
        if len(together) > 1 and not covered:
            axes.plot([first - 0.02, together[-1] + 0.02], [height, height], color=line_style(0)["color"], linewidth=4)
            height -= 0.35
    told = f"average rank over {ranks.targets} targets, 1 is best; critical difference {difference:.2f} (Nemenyi, 5 %)"
    axes.set_title(told, fontsize=9, color=FAINT, loc="left")
    return figure
