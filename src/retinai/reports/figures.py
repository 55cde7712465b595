"""Figures of predictions: confusion, ROC, precision-recall, reliability."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from retinai.metrics.calibration_error import BINS, bin_of
from retinai.prediction.predictions import Predictions
from retinai.reports.style import COLOURS, FAINT, FRAME, INK, clean, line_style, new_figure


def readable(name: str) -> str:
    """Return a class name as people write it."""
    return name.replace("no_dr", "no DR").replace("_", " ")


def confusion_figure(predictions: Predictions) -> Figure:
    """Draw counts and row percentages: one matrix of grades, or a small one per label.

    Args:
        predictions: With targets.
    """
    parts = predictions.task.decided_parts(predictions.labelled, predictions.decisions)
    if len(parts) == 1:
        names = [readable(name) for name in parts[0].classes]
        side = max(4.4, 1.6 + 0.78 * len(names))
        figure, (axes,) = new_figure(side + 0.2, side)
        _draw_matrix(axes, parts[0].confusion, names)
        return figure
    columns = min(4, len(parts))
    rows = -(-len(parts) // columns)
    figure, cells = new_figure(1.9 * columns, 2.0 * rows, rows, columns)
    for axes in cells[len(parts) :]:
        axes.set_axis_off()
    for part, axes in zip(parts, cells, strict=False):
        _draw_matrix(axes, part.confusion, list(part.classes), axis_names=False)
        axes.set_title(readable(part.name), fontsize=10, color=INK)
    figure.supxlabel("predicted", fontsize=10)
    figure.supylabel("true", fontsize=10)
    return figure


def _draw_matrix(axes: Axes, counts: NDArray[np.int64], names: list[str], axis_names: bool = True) -> None:
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    for row, column in np.ndindex(*counts.shape):
        colour = "white" if share[row, column] > 0.55 else INK
        text = f"{counts[row, column]}\n{100 * share[row, column]:.0f} %"
        axes.text(column, row, text, ha="center", va="center", fontsize=9.5, color=colour)
    turned = max(map(len, names)) > 6
    axes.set_xticks(range(len(names)), names, rotation=35 if turned else 0, ha="right" if turned else "center")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    if axis_names:
        axes.set_xlabel("predicted", fontsize=10)
        axes.set_ylabel("true (per cent of the row)", fontsize=10)


def _one_against_rest(predictions: Predictions) -> list[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]:
    """Return name, truth and score of every class that occurs and is not everything."""
    holds = predictions.task.indicator(predictions.labelled)
    found = []
    for index, name in enumerate(predictions.task.classes):
        truth = holds[:, index]
        if 0 < truth.sum() < len(truth):
            found.append((readable(name), truth, predictions.probabilities[:, index]))
    return found


def roc_figure(predictions: Predictions) -> Figure:
    """Draw one ROC curve per class against the rest, with its area in the legend.

    Args:
        predictions: With targets.
    """
    figure, (axes,) = new_figure()
    for index, (name, truth, score) in enumerate(_one_against_rest(predictions)):
        false_rate, true_rate, _ = roc_curve(truth, score)
        axes.plot(false_rate, true_rate, label=f"{name}  {roc_auc_score(truth, score):.3f}", **line_style(index))
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
    _unit_square(axes, "1 - specificity", "sensitivity")
    _legend(axes, "class, AUROC", "lower right")
    return figure


def precision_recall_figure(predictions: Predictions) -> Figure:
    """Draw one precision-recall curve per class against the rest, with its average precision.

    Args:
        predictions: With targets.
    """
    figure, (axes,) = new_figure(height=4.9)
    for index, (name, truth, score) in enumerate(_one_against_rest(predictions)):
        precision, recall, _ = precision_recall_curve(truth, score)
        label = f"{name}  {average_precision_score(truth, score):.3f} (share {truth.mean():.2f})"
        axes.plot(recall, precision, drawstyle="steps-post", label=label, **line_style(index))
    _unit_square(axes, "recall (sensitivity)", "precision")
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        # Below the axes: precision-recall curves leave no corner free.
        figure.legend(
            handles, labels, title="class, AUPRC (a guess reaches the share)", loc="outside lower center",
            ncols=2, fontsize=8.5, title_fontsize=9, frameon=False,
        )  # fmt: skip
    return figure


def reliability_figure(predictions: Predictions, bins: int = BINS, before: Predictions | None = None) -> Figure:
    """Draw how often a probability comes true, over a histogram of the probabilities.

    Grades: the probability of the most probable grade. Labels: the probability of every label.

    Args:
        predictions: With targets.
        bins: Number of bins of equal width.
        before: The same predictions before they were calibrated, for a second line.
    """
    confidence, correct = _confidence_and_correctness(predictions)
    figure = new_figure(5.2, 5.0)[0]
    figure.clear()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    member = bin_of(confidence, bins)
    count = np.bincount(member, minlength=bins)
    upper.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, label="perfectly calibrated")
    if before is not None:
        line = {"marker": "s", "markersize": 3.5, "color": COLOURS[1], "linewidth": 1.2, "linestyle": "--"}
        upper.plot(*_reliability(*_confidence_and_correctness(before), bins), label="before scaling", **line)
    name = "this model" if before is None else "after"
    line = {"marker": "o", "markersize": 4, "color": COLOURS[0], "linewidth": 1.5}
    upper.plot(*_reliability(confidence, correct, bins), label=name, **line)
    centres = (np.arange(bins) + 0.5) / bins
    lower.bar(centres, count, width=0.9 / bins, color=COLOURS[5])
    clean(upper)
    clean(lower)
    upper.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    upper.set_ylabel("came true", fontsize=10)
    lower.set_xlabel(f"stated ({predictions.task.confidence_name})", fontsize=10)
    lower.set_ylabel(predictions.task.counted, fontsize=10)
    _legend(upper, None, "upper left")
    return figure


def _reliability(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean stated probability and true rate of the bins that hold anything."""
    member = bin_of(confidence, bins)
    count = np.bincount(member, minlength=bins)
    used = count > 0
    stated = np.bincount(member, confidence, minlength=bins)[used] / count[used]
    return stated, np.bincount(member, correct.astype(float), minlength=bins)[used] / count[used]


def _confidence_and_correctness(predictions: Predictions) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return predictions.task.confidence_and_correctness(predictions.probabilities, predictions.labelled)


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.set_xlabel(x, fontsize=10)
    axes.set_ylabel(y, fontsize=10)


def _legend(axes: Axes, title: str | None, place: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(title=title, loc=place, fontsize=8.5, title_fontsize=9, framealpha=0.9, edgecolor=FRAME)
