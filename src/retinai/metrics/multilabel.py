"""Metrics of a multilabel task for weighted photographs, for all resamples at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import divide, mean_defined
from retinai.metrics.calibration_error import calibration_error
from retinai.metrics.odir import odir_scores
from retinai.metrics.ranking import ranking_areas


def label_counts(
    targets: NDArray[np.int64], decisions: NDArray[np.int64], weights: NDArray[np.float32]
) -> dict[str, NDArray[np.float64]]:
    """Return true and false positives and negatives per label, each of shape (R, C).

    Args:
        targets: Shape (N, C), 0 or 1.
        decisions: Shape (N, C), 0 or 1.
        weights: Shape (R, N).
    """
    cells = {
        "tp": targets * decisions,
        "fp": (1 - targets) * decisions,
        "fn": targets * (1 - decisions),
        "tn": (1 - targets) * (1 - decisions),
    }
    return {name: (weights @ cell.astype(np.float32)).astype(np.float64) for name, cell in cells.items()}


def multilabel_metrics(
    targets: NDArray[np.int64],
    decisions: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    weights: NDArray[np.float32],
) -> dict[str, Any]:
    """Return every metric of a multilabel task under each row of weights.

    `accuracy` is the share of photographs with every label right, `balanced_accuracy` the mean over
    labels of (sensitivity + specificity) / 2, `calibration_error` the mean over labels. A metric that
    a label lacks (it never occurs, or always) is left out of the macro means.

    Args:
        targets: Shape (N, C), 0 or 1.
        decisions: Shape (N, C), 0 or 1.
        probabilities: Shape (N, C).
        classes: Names of the C labels.
        weights: Shape (R, N).

    Returns:
        Name -> shape (R,); under `per_class` label -> name -> shape (R,).
    """
    n = label_counts(targets, decisions, weights)
    labels = range(len(classes))
    areas = [ranking_areas(probabilities[:, c], targets[:, c] == 1, weights) for c in labels]
    recall = divide(n["tp"], n["tp"] + n["fn"])
    specificity = divide(n["tn"], n["tn"] + n["fp"])
    support = n["tp"] + n["fn"]
    rates = {
        "precision": divide(n["tp"], n["tp"] + n["fp"]),
        "recall": recall,
        "f1": divide(2 * n["tp"], 2 * n["tp"] + n["fp"] + n["fn"]),
        "specificity": specificity,
        "auroc": np.stack([a[0] for a in areas], axis=1),
        "auprc": np.stack([a[1] for a in areas], axis=1),
    }
    errors = [calibration_error(probabilities[:, c], targets[:, c] == 1, weights) for c in labels]
    exact = (targets == decisions).all(axis=1)
    values: dict[str, Any] = {
        "accuracy": divide(weights @ exact.astype(np.float64), weights.sum(axis=1, dtype=np.float64)),
        "balanced_accuracy": mean_defined((recall + specificity) / 2),
        "macro_f1": mean_defined(rates["f1"]),
        "weighted_f1": divide((np.nan_to_num(rates["f1"]) * support).sum(axis=1), support.sum(axis=1)),
        "micro_f1": divide(2 * n["tp"].sum(axis=1), (2 * n["tp"] + n["fp"] + n["fn"]).sum(axis=1)),
        "auroc": mean_defined(rates["auroc"]),
        "auprc": mean_defined(rates["auprc"]),
        "calibration_error": mean_defined(np.stack(errors, axis=1)),
        **odir_scores(targets, decisions, probabilities, weights),
    }
    values["per_class"] = {name: {key: rate[:, c] for key, rate in rates.items()} for c, name in enumerate(classes)}
    return values
