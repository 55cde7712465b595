"""From predictions to the content of `metrics.json`: every metric with its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.errors import DataError
from retinai.metrics.bootstrap import bootstrap_weights, interval
from retinai.metrics.grade import confusion_matrices, grade_metrics
from retinai.metrics.multilabel import label_counts, multilabel_metrics
from retinai.prediction.predictions import Predictions


def compute_metrics(predictions: Predictions, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return all metrics of labelled predictions with 95 % intervals.

    Args:
        predictions: With targets.
        resamples: Bootstrap resamples of patients; 0 leaves the intervals undefined.
        seed: Seed of the bootstrap.

    Returns:
        Metric -> `{"value", "low", "high"}` (None where undefined); `per_class` (class -> metric ->
        the same, and `support`); `confusion_matrix` (rows true, columns decided; for labels one
        `[[tn, fp], [fn, tp]]` per class); `n` photographs, `patients`, `resamples`, `seed`,
        `decision` and `task`.

    Raises:
        DataError: If there are no photographs or no labels.
    """
    if len(predictions) == 0:
        raise DataError("there are no photographs to measure; choose another split")
    predictions.labelled  # noqa: B018 (raises without labels)
    weights = bootstrap_weights(predictions.patients, resamples, seed)
    values = measure(predictions, weights)
    per_class = values.pop("per_class")
    metrics: dict[str, Any] = {name: interval(draws) for name, draws in values.items()}
    metrics["per_class"] = {
        name: {**{key: interval(draws) for key, draws in rates.items()}, "support": support}
        for (name, rates), support in zip(per_class.items(), _support(predictions), strict=True)
    }
    return {
        **metrics,
        "confusion_matrix": _confusion(predictions),
        "n": len(predictions),
        "patients": len(set(predictions.patients)),
        "resamples": resamples,
        "seed": seed,
        "decision": predictions.decision,
        "task": predictions.task.to_dict(),
    }


def measure(predictions: Predictions, weights: NDArray[np.float32]) -> dict[str, Any]:
    """Return every metric of the task under each row of weights.

    Args:
        predictions: With targets.
        weights: Shape (R, N).

    Returns:
        Name -> shape (R,); under `per_class` class -> name -> shape (R,).
    """
    task = predictions.task
    given = (predictions.labelled, predictions.decisions, predictions.probabilities, task.classes, weights)
    if task.kind == "grade":
        return grade_metrics(*given, referable_from=task.referable_from)
    return multilabel_metrics(*given)


def _support(predictions: Predictions) -> list[int]:
    targets = predictions.labelled
    if predictions.task.kind == "grade":
        return np.bincount(targets, minlength=predictions.task.num_classes).tolist()
    return targets.sum(axis=0).tolist()


def _confusion(predictions: Predictions) -> Any:
    ones = np.ones((1, len(predictions)), dtype=np.float32)
    targets, decisions = predictions.labelled, predictions.decisions
    if predictions.task.kind == "grade":
        return confusion_matrices(targets, decisions, predictions.task.num_classes, ones)[0].astype(int).tolist()
    n = {key: counts[0].astype(int) for key, counts in label_counts(targets, decisions, ones).items()}
    cells = zip(n["tn"], n["fp"], n["fn"], n["tp"], strict=True)
    return {
        name: [[int(tn), int(fp)], [int(fn), int(tp)]]
        for name, (tn, fp, fn, tp) in zip(predictions.task.classes, cells, strict=True)
    }
