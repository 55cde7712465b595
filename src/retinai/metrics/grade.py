"""Metrics of a graded task for weighted photographs, for all resamples at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import divide, mean_defined
from retinai.metrics.calibration_error import calibration_error
from retinai.metrics.ranking import ranking_areas


def confusion_matrix(targets: NDArray[np.int64], decisions: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return how often each pair of a true and a decided class occurs, shape (C, C), rows true.

    Args:
        targets: True classes, shape (N,).
        decisions: Decided classes, shape (N,).
        classes: Number of classes C.
    """
    return np.bincount(targets * classes + decisions, minlength=classes * classes).reshape(classes, classes)


def confusion_matrices(
    targets: NDArray[np.int64], decisions: NDArray[np.int64], classes: int, weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return a confusion matrix per row of weights.

    Args:
        targets: True grades, shape (N,).
        decisions: Decided grades, shape (N,).
        classes: Number of classes C.
        weights: Shape (R, N).

    Returns:
        Shape (R, C, C), rows true, columns decided.
    """
    cells = np.zeros((len(targets), classes * classes), dtype=np.float32)
    cells[np.arange(len(targets)), targets * classes + decisions] = 1
    # Sums of whole numbers below 2^24 are exact in float32.
    return (weights @ cells).astype(np.float64).reshape(-1, classes, classes)


def quadratic_weighted_kappa(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Cohen's kappa with quadratic weights; NaN when all true and decided grades are one.

    Args:
        confusion: Shape (R, C, C).

    Source: Cohen, "Weighted kappa", Psychological Bulletin 70, 1968.
    """
    grades = np.arange(confusion.shape[-1])
    cost = (grades[:, None] - grades[None, :]) ** 2
    total = confusion.sum(axis=(1, 2))
    by_chance = confusion.sum(axis=2)[:, :, None] * confusion.sum(axis=1)[:, None, :]
    return 1 - divide((confusion * cost).sum(axis=(1, 2)) * total, (by_chance * cost).sum(axis=(1, 2)))


def class_rates(confusion: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return precision, recall, F1 and support per class, each of shape (R, C).

    Precision is NaN for a class that is never decided, recall for one that never occurs, F1 for one
    that does neither.

    Args:
        confusion: Shape (R, C, C), rows true.
    """
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    decided, support = confusion.sum(axis=1), confusion.sum(axis=2)
    return {
        "precision": divide(hits, decided),
        "recall": divide(hits, support),
        "f1": divide(2 * hits, decided + support),
        "support": support,
    }


def grade_metrics(
    targets: NDArray[np.int64],
    decisions: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    weights: NDArray[np.float32],
    referable_from: int | None = None,
) -> dict[str, Any]:
    """Return every metric of a graded task under each row of weights.

    A class that does not occur has no recall, AUROC or AUPRC, and one that neither occurs nor is
    decided no F1; the macro means are over the classes that have one.

    Args:
        targets: True grades, shape (N,).
        decisions: Decided grades, shape (N,).
        probabilities: Shape (N, C).
        classes: Names of the C grades, in their order.
        weights: Shape (R, N).
        referable_from: The lowest grade that is referred, where there is such a border.

    Returns:
        Name -> shape (R,); under `per_class` class -> name -> shape (R,).
    """
    confusion = confusion_matrices(targets, decisions, len(classes), weights)
    rates = class_rates(confusion)
    areas = [ranking_areas(probabilities[:, c], targets == c, weights) for c in range(len(classes))]
    rates["auroc"], rates["auprc"] = (np.stack([a[i] for a in areas], axis=1) for i in (0, 1))
    total, support = confusion.sum(axis=(1, 2)), rates.pop("support")
    weighted_f1 = divide((np.nan_to_num(rates["f1"]) * support).sum(axis=1), total)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == targets
    values: dict[str, Any] = {
        "accuracy": divide(np.trace(confusion, axis1=1, axis2=2), total),
        "balanced_accuracy": mean_defined(rates["recall"]),
        "qwk": quadratic_weighted_kappa(confusion),
        "macro_f1": mean_defined(rates["f1"]),
        "weighted_f1": weighted_f1,
        "auroc": mean_defined(rates["auroc"]),
        "auprc": mean_defined(rates["auprc"]),
        **({} if referable_from is None else _referable(targets, probabilities, referable_from, confusion, weights)),
        "calibration_error": calibration_error(confidence, correct, weights),
    }
    values["per_class"] = {name: {key: rate[:, c] for key, rate in rates.items()} for c, name in enumerate(classes)}
    return values


def _referable(
    targets: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    border: int,
    confusion: NDArray[np.float64],
    weights: NDArray[np.float32],
) -> dict[str, NDArray[np.float64]]:
    """Sensitivity, specificity and AUROC of "this eye should be referred"."""
    sick, well = confusion[:, border:], confusion[:, :border]
    auroc, _ = ranking_areas(probabilities[:, border:].sum(axis=1), targets >= border, weights)
    return {
        "referable_sensitivity": divide(sick[:, :, border:].sum(axis=(1, 2)), sick.sum(axis=(1, 2))),
        "referable_specificity": divide(well[:, :, :border].sum(axis=(1, 2)), well.sum(axis=(1, 2))),
        "referable_auroc": auroc,
    }
