"""How wrong each decision is: what orders the worst mistakes of a report."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Mistakes(NamedTuple):
    """How wrong each of N decisions is, and how sure the model was.

    Attributes:
        size: How far each decision is from the truth, shape (N,), 0 where it is right.
        confidence: Orders equal sizes, shape (N,), the most confident first.
        probability: The probability that the model gives to what is wrong, shape (N,).
    """

    size: NDArray[np.float64]
    confidence: NDArray[np.float64]
    probability: NDArray[np.float64]


def grade_mistakes(
    targets: NDArray[np.int64], decisions: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> Mistakes:
    """Return by how many grades each decision is off, and the probability of the decided grade.

    Args:
        targets: True grades, shape (N,).
        decisions: Decided grades, shape (N,).
        probabilities: Shape (N, C).
    """
    decided = probabilities[np.arange(len(targets)), decisions]
    return Mistakes(np.abs(decisions - targets).astype(float), decided, decided)


def label_mistakes(
    targets: NDArray[np.int64], decisions: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> Mistakes:
    """Return the sum of |probability - truth| over the wrong labels, and the surest of those.

    Args:
        targets: Shape (N, C), 0 or 1.
        decisions: Shape (N, C), 0 or 1.
        probabilities: Shape (N, C).
    """
    wrong = decisions != targets
    confidence = np.where(decisions == 1, probabilities, 1 - probabilities)
    surest = np.where(wrong, confidence, 0.0).max(axis=1)
    return Mistakes((np.abs(probabilities - targets) * wrong).sum(axis=1), probabilities.max(axis=1), surest)
