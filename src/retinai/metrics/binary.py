"""Metrics of a yes-or-no task for weighted photographs, for all resamples at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import divide
from retinai.metrics.calibration_error import calibration_error
from retinai.metrics.grade import class_rates, confusion_matrices
from retinai.metrics.ranking import ranking_areas


def predictive_values(
    sensitivity: NDArray[np.float64], specificity: NDArray[np.float64], prevalence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positive and negative predictive value at a prevalence, by Bayes' theorem.

    Args:
        sensitivity: Share of the sick that are called sick.
        specificity: Share of the healthy that are called healthy.
        prevalence: Share of the sick among those who will be asked, 0 to 1.
    """
    true_positive, false_positive = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_negative, false_negative = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return divide(true_positive, true_positive + false_positive), divide(true_negative, true_negative + false_negative)


def binary_metrics(
    targets: NDArray[np.int64],
    decisions: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    weights: NDArray[np.float32],
    prevalence: float | None = None,
) -> dict[str, Any]:
    """Return every metric of a yes-or-no task under each row of weights.

    Args:
        targets: 0 or 1, shape (N,).
        decisions: 0 or 1, shape (N,).
        probabilities: Of no and yes, shape (N, 2).
        classes: Names of no and yes.
        weights: Shape (R, N).
        prevalence: At which `ppv_at_prevalence` and `npv_at_prevalence` are given besides; None leaves them out.

    Returns:
        Name -> shape (R,); under `per_class` class -> name -> shape (R,).
    """
    confusion = confusion_matrices(targets, decisions, 2, weights)
    rates = class_rates(confusion)
    areas = [ranking_areas(probabilities[:, c], targets == c, weights) for c in (0, 1)]
    sensitivity, specificity = rates["recall"][:, 1], rates["recall"][:, 0]
    values: dict[str, Any] = {
        "auroc": areas[1][0],
        "auprc": areas[1][1],
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": rates["precision"][:, 1],
        "npv": rates["precision"][:, 0],
        "f1": rates["f1"][:, 1],
        "accuracy": divide(np.trace(confusion, axis1=1, axis2=2), confusion.sum(axis=(1, 2))),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "calibration_error": calibration_error(probabilities.max(axis=1), decisions == targets, weights),
    }
    if prevalence is not None:
        ppv, npv = predictive_values(sensitivity, specificity, prevalence)
        values |= {"ppv_at_prevalence": ppv, "npv_at_prevalence": npv}
    values["per_class"] = {
        name: {
            **{key: rates[key][:, c] for key in ("precision", "recall", "f1")},
            "auroc": areas[c][0],
            "auprc": areas[c][1],
        }
        for c, name in enumerate(classes)
    }
    return values
