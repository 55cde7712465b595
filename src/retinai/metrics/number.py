"""Metrics of predicted numbers for weighted photographs, for all resamples at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import divide

# Share of normally distributed differences within the limits of agreement: 95 %.
_LIMITS = 1.96


def number_metrics(
    targets: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float32]
) -> dict[str, NDArray[np.float64]]:
    """Return every metric of predicted numbers under each row of weights.

    Args:
        targets: True numbers, shape (N,).
        predicted: Shape (N,).
        weights: Shape (R, N), how often each photograph counts.

    Returns:
        Each of shape (R,): `mae` and `rmse` (in the unit of the target), `r2` (share of the variance explained; NaN
        where all targets are one number), `bias` (mean of predicted minus true), and the limits of agreement
        `agreement_low` and `agreement_high`, between which 95 % of the differences lie.

    Source: Bland & Altman, "Statistical methods for assessing agreement", Lancet 327, 1986.
    """
    w = weights.astype(np.float64)
    total = w.sum(axis=1)
    difference = predicted - targets
    bias = divide(w @ difference, total)
    squared = divide(w @ difference**2, total)
    # The sample variance of the differences, with n - 1.
    spread = np.sqrt(np.maximum(squared - bias**2, 0) * divide(total, total - 1))
    mean = divide(w @ targets, total)
    variance = divide(w @ (targets - targets.mean()) ** 2, total) - (mean - targets.mean()) ** 2
    variance = np.where(variance > 1e-12 * max(float(targets.var()), 1e-300), variance, 0)
    return {
        "mae": divide(w @ np.abs(difference), total),
        "rmse": np.sqrt(squared),
        "r2": 1 - divide(squared, variance),
        "bias": bias,
        "agreement_low": bias - _LIMITS * spread,
        "agreement_high": bias + _LIMITS * spread,
    }
