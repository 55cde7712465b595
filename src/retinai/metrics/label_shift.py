"""Class shares of photographs without looking at their labels, and probabilities corrected for them.

Where classes are more or less frequent than in the training, but each class looks the same, the class shares that
make the probabilities most likely are found by expectation maximisation, and the probabilities follow from them.

Source: Saerens, Latinne & Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori Probabilities: A Simple
    Procedure", Neural Computation 14, 2002, equations 2.4 and 2.9.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_STEPS = 10_000
_ENOUGH = 1e-9


def estimate_shares(probabilities: NDArray[Any], trained: NDArray[Any]) -> NDArray[np.float64]:
    """Return the class shares of photographs, shape (C,), adding up to 1.

    Args:
        probabilities: Of these photographs, calibrated, shape (N, C), each row adding up to 1.
        trained: Class shares of the training, shape (C,), > 0.
    """
    values, trained = np.asarray(probabilities, dtype=np.float64), np.asarray(trained, dtype=np.float64)
    shares = trained
    for _ in range(_STEPS):
        found = corrected(values, trained, shares).mean(axis=0)
        if np.abs(found - shares).max() < _ENOUGH:
            return found
        shares = found
    return shares


def corrected(probabilities: NDArray[Any], trained: NDArray[Any], shares: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities for photographs with other class shares than those of the training, shape (N, C).

    Args:
        probabilities: Calibrated, shape (N, C).
        trained: Class shares of the training, shape (C,), > 0.
        shares: Of these photographs, shape (C,).
    """
    weighted = np.asarray(probabilities, dtype=np.float64) * (np.asarray(shares) / np.asarray(trained))
    total = weighted.sum(axis=1, keepdims=True)
    # A row whose classes all have a share of 0 says nothing about them, and stays as it is.
    return np.where(total > 0, np.divide(weighted, total, out=np.zeros_like(weighted), where=total > 0), probabilities)
