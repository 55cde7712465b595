"""Sets of grades that hold the true one as often as promised, whatever the network is worth.

Split conformal prediction for ordered grades: an interval grows from the decided grade, each time by the more probable
neighbour. The score of a grade is the probability that the interval has when the grade joins it. With q the
ceil((n + 1) * level)-th smallest of the scores of the true grades of n calibration photographs, the grades with a score
of at most q hold the true grade of a new photograph with a probability of at least `level`, if it could as well have
been one of those n. That is all that is assumed, and it is an average over photographs: it promises nothing for each
grade by itself.

Source: Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005; the scores are those of adaptive
prediction sets (Romano, Sesia & Candes, "Classification with Valid and Adaptive Coverage", NeurIPS 2020), without
randomisation, kept to intervals as in Lu, Angelopoulos & Pomerantz, "Improving Trustworthiness of AI Disease Severity
Rating in Medical Imaging with Ordinal Conformal Prediction Sets", MICCAI 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.decisions import decide

LEVEL = 0.9
_TIE = 1e-9  # float32 probabilities whose sums are equal in truth


def growing_scores(probabilities: NDArray[Any], rule: str) -> NDArray[np.float64]:
    """Return the score of each grade: the probability of the interval when it joins, shape (N, C), in (0, 1].

    Args:
        probabilities: As the network gives them, shape (N, C), each row adds up to 1 but for rounding.
        rule: How they become decisions; the interval grows from there.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    values = values / values.sum(axis=1, keepdims=True)
    rows, count = np.arange(len(values)), values.shape[1]
    low = decide(values, rule)
    high = low.copy()
    mass = values[rows, low]
    scores = np.full(values.shape, np.nan)
    scores[rows, low] = mass
    padded = np.pad(values, ((0, 0), (1, 1)), constant_values=-1.0)
    for _ in range(count - 1):
        below, above = padded[rows, low], padded[rows, high + 2]
        up = above >= below  # of equal neighbours the higher grade: the safer mistake
        low, high = np.where(up, low, low - 1), np.where(up, high + 1, high)
        joined = np.where(up, high, low)
        mass = mass + values[rows, joined]
        scores[rows, joined] = mass
    return scores


def fit_sets(
    probabilities: NDArray[Any], targets: NDArray[np.int64], rule: str, level: float = LEVEL
) -> dict[str, Any]:
    """Return what `prediction_sets` needs, plain values: `level`, `quantile`, `n`.

    Where there are too few photographs for the level, fewer than level / (1 - level), the quantile is 1: all grades.

    Args:
        probabilities: Of calibration photographs, as the network gives them, shape (N, C).
        targets: Their grades, shape (N,).
        rule: How probabilities become decisions.
        level: How often a set has to hold the true grade, in (0, 1).
    """
    scores = np.sort(growing_scores(probabilities, rule)[np.arange(len(targets)), targets])
    place = math.ceil((len(scores) + 1) * level - 1e-12)
    quantile = float(scores[place - 1]) if place <= len(scores) else 1.0
    return {"level": level, "quantile": quantile, "n": len(scores)}


def prediction_sets(probabilities: NDArray[Any], rule: str, fitted: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return which grades cannot be ruled out, shape (N, C): neighbours, among them always the decided grade.

    Args:
        probabilities: As the network gives them, shape (N, C); rows that are no numbers give empty sets.
        rule: How they become decisions.
        fitted: Of `fit_sets`.
    """
    finite = np.isfinite(probabilities).all(axis=1)
    members = np.zeros(np.shape(probabilities), dtype=bool)
    if finite.any():
        known = np.asarray(probabilities)[finite]
        inside = growing_scores(known, rule) <= float(fitted["quantile"]) + _TIE
        inside[np.arange(len(known)), decide(known.astype(np.float64), rule)] = True
        members[finite] = inside
    return members


def set_results(members: NDArray[np.bool_], targets: NDArray[np.int64], weights: NDArray[Any]) -> dict[str, Any]:
    """Return `coverage` and `mean_size` of sets on labelled photographs under each row of weights, shape (R,).

    Args:
        members: Of `prediction_sets`, shape (N, C).
        targets: Grades, shape (N,).
        weights: Shape (R, N).
    """
    total = weights.sum(axis=1, dtype=np.float64)
    held, size = members[np.arange(len(targets)), targets], members.sum(axis=1)
    return {
        "coverage": weights @ held.astype(np.float64) / total,
        "mean_size": weights @ size.astype(np.float64) / total,
    }
