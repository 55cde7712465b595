"""Figures of predicted numbers: agreement with the truth, and predicted against true."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from retinai.metrics.number import number_metrics
from retinai.prediction.predictions import Predictions
from retinai.reports.figures import readable
from retinai.reports.style import COLOURS, FAINT, new_figure

_DOTS: dict[str, Any] = {"s": 16, "alpha": 0.6, "linewidths": 0}


def agreement_figure(predictions: Predictions) -> Figure:
    """Draw predicted minus true over their mean, with bias and limits of agreement.

    Args:
        predictions: Of a number, with targets.

    Source: Bland & Altman, "Statistical methods for assessing agreement", Lancet 327, 1986.
    """
    true, predicted = predictions.labelled, predictions.decisions
    found = number_metrics(true, predicted, np.ones((1, len(true)), dtype=np.float32))
    figure, (axes,) = new_figure(5.6, 4.4)
    axes.scatter((true + predicted) / 2, predicted - true, color=COLOURS[0], **_DOTS)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    for key, name in (("bias", "bias"), ("agreement_low", "95 % limits"), ("agreement_high", "")):
        value = float(found[key][0])
        if np.isfinite(value):
            style: dict[str, Any] = {"linestyle": "-" if key == "bias" else "--", "color": COLOURS[1], "linewidth": 1.2}
            axes.axhline(value, label=name or None, **style)
            axes.annotate(
                f"{value:.3g}", (1.0, value), xycoords=("axes fraction", "data"), xytext=(-3, 3),
                textcoords="offset points", ha="right", fontsize=8.5,
            )  # fmt: skip
    name = readable(predictions.task.classes[0])
    axes.set_xlabel(f"mean of predicted and true {name}", fontsize=10)
    axes.set_ylabel("predicted minus true", fontsize=10)
    axes.legend(loc="lower left", fontsize=8.5, framealpha=0.9)
    return figure


def scatter_figure(predictions: Predictions) -> Figure:
    """Draw predicted against true numbers, with the line on which they are equal.

    Args:
        predictions: Of a number, with targets.
    """
    true, predicted = predictions.labelled, predictions.decisions
    figure, (axes,) = new_figure(4.8, 4.8)
    ends = [float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))]
    axes.plot(ends, ends, color=FAINT, linewidth=0.8, label="equal")
    axes.scatter(true, predicted, color=COLOURS[0], **_DOTS)
    name = readable(predictions.task.classes[0])
    axes.set_xlabel(f"true {name}", fontsize=10)
    axes.set_ylabel(f"predicted {name}", fontsize=10)
    axes.legend(loc="upper left", fontsize=8.5, framealpha=0.9)
    return figure
