"""From photographs to patients: what both eyes say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.errors import UserError
from retinai.prediction.predictions import Predictions
from retinai.tasks.task import Task

POOLINGS = ("max", "mean", "noisy_or")
# ODIR's label of a healthy eye: a patient is healthy where every eye is.
_ALL_EYES = ("N",)


def by_patient(predictions: Predictions, pooling: str) -> Predictions:
    """Return predictions of patients: a patient has a label that any eye has, and the grade of the worse eye.

    `max`: of several labels the highest probability of any eye (of N, normal, the lowest); of grades the eye whose
    expected grade is highest. `mean`: the mean of the eyes. `noisy_or`: as if eyes were independent, 1 - prod(1 - p) of
    a label (of N the product), and of grades P(worst <= k) = prod P(eye <= k). A patient with one eye keeps its own.
    Of a number there is `mean` alone, of the targets too.

    Args:
        predictions: Of photographs.
        pooling: One of POOLINGS.

    Returns:
        One row per patient, in the order of their first photographs; `ids` are the patients' names, decisions follow
        from the pooled probabilities.
    """
    check_pooling(pooling, predictions.task)
    order: dict[str, list[int]] = {}
    for row, patient in enumerate(predictions.patients):
        order.setdefault(patient, []).append(row)
    rows = list(order.values())
    several = len(predictions.task.target_shape(1)) == 2
    pool = _pool_labels if several else _pool_grades
    inverted = np.array([several and name in _ALL_EYES for name in predictions.task.classes])
    targets = None
    if predictions.targets is not None:
        of_person = _worst if predictions.task.has_probabilities else _middle
        targets = np.array([of_person(predictions.targets[r], inverted) for r in rows])
    return replace(
        predictions,
        ids=list(order),
        paths=[predictions.paths[r[0]] for r in rows],
        patients=list(order),
        targets=targets,
        probabilities=np.array([pool(predictions.probabilities[r], pooling, inverted) for r in rows]),
        decided=None,
        columns={},
    )


def check_pooling(pooling: str, task: Task) -> None:
    """Refuse a pooling that means nothing for a task.

    Raises:
        UserError: Names those that do.
    """
    if pooling not in task.poolings:
        valid = " or ".join(f"pooling={name}" for name in task.poolings)
        raise UserError(f"pooling={pooling} does not suit task {task.name!r}, that has {task.answer}; use {valid}")


def agreement_of_eyes(predictions: Predictions) -> tuple[float | None, int]:
    """Return the share of patients whose two eyes are decided alike, and how many have two; None where none has."""
    if not predictions.task.has_probabilities:
        return None, 0  # two numbers are hardly ever equal
    decisions = predictions.decisions
    eyes: dict[str, list[int]] = {}
    for row, patient in enumerate(predictions.patients):
        eyes.setdefault(patient, []).append(row)
    pairs = [rows for rows in eyes.values() if len(rows) == 2]
    if not pairs:
        return None, 0
    return float(np.mean([bool(np.all(decisions[a] == decisions[b])) for a, b in pairs])), len(pairs)


def _middle(targets: NDArray[Any], _: NDArray[np.bool_]) -> NDArray[Any]:
    return np.asarray(targets.mean(axis=0))


def _worst(targets: NDArray[Any], inverted: NDArray[np.bool_]) -> NDArray[Any]:
    worst = targets.max(axis=0)
    return np.asarray(np.where(inverted, targets.min(axis=0), worst) if targets.ndim == 2 else worst)


def _pool_labels(eyes: NDArray[np.float64], pooling: str, inverted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the probabilities of one patient, (C,), from those of the eyes, (E, C)."""
    if pooling == "mean":
        return np.asarray(eyes.mean(axis=0))
    if pooling == "max":
        return np.where(inverted, eyes.min(axis=0), eyes.max(axis=0))
    return np.where(inverted, eyes.prod(axis=0), 1 - (1 - eyes).prod(axis=0))


def _pool_grades(eyes: NDArray[np.float64], pooling: str, _: Sequence[bool] | NDArray[np.bool_]) -> NDArray[np.float64]:
    if pooling == "mean":
        return np.asarray(eyes.mean(axis=0))
    if pooling == "max":
        return np.asarray(eyes[int(np.argmax(eyes @ np.arange(eyes.shape[1])))])
    up_to = np.clip(np.cumsum(eyes, axis=1).prod(axis=0), 0, 1)
    up_to[-1] = 1.0
    return np.maximum(np.diff(up_to, prepend=0.0), 0.0)
