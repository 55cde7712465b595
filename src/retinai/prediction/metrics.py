"""From predictions to the content of `metrics.json`: every metric with its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.errors import DataError
from retinai.metrics.bootstrap import bootstrap_weights, interval
from retinai.prediction.predictions import Predictions


def compute_metrics(predictions: Predictions, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return all metrics of labelled predictions with 95 % intervals.

    Args:
        predictions: With targets.
        resamples: Bootstrap resamples of patients; 0 leaves the intervals undefined.
        seed: Seed of the bootstrap.

    Returns:
        Metric -> `{"value", "low", "high"}` (None where undefined); `per_class` (class -> metric ->
        the same, and `support`; empty for a number); `confusion_matrix` (rows true, columns decided; for labels one
        `[[tn, fp], [fn, tp]]` per class; none for a number); `n` photographs, `patients`, `resamples`, `seed`,
        `decision_rule` and `task`.

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
        for (name, rates), support in zip(per_class.items(), _support(predictions) if per_class else (), strict=True)
    }
    return {
        **metrics,
        **_confusion(predictions),
        "n": len(predictions),
        "patients": len(set(predictions.patients)),
        "resamples": resamples,
        "seed": seed,
        "decision_rule": predictions.decision_rule,
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
    p = predictions
    return p.task.metrics(p.labelled, p.decisions, p.probabilities, weights)


def _support(predictions: Predictions) -> list[int]:
    return predictions.task.indicator(predictions.labelled).sum(axis=0).tolist()


def _confusion(predictions: Predictions) -> dict[str, Any]:
    parts = predictions.task.decided_parts(predictions.labelled, predictions.decisions)
    matrices = {part.name: part.confusion.tolist() for part in parts}
    return {"confusion_matrix": matrices.get("", matrices)} if matrices else {}
