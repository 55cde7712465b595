"""The calibration error: how far probabilities are from how often they come true."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import divide

BINS = 15


def bin_of(confidence: NDArray[np.float64], bins: int = BINS) -> NDArray[np.int64]:
    """Return the bin of each confidence, equal widths on [0, 1]; 1.0 falls into the last bin."""
    edges = np.linspace(0, 1, bins + 1)
    return np.clip(np.digitize(confidence, edges) - 1, 0, bins - 1)


def calibration_error(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], weights: NDArray[np.float32], bins: int = BINS
) -> NDArray[np.float64]:
    """Return the expected calibration error under each row of weights.

    Args:
        confidence: The probability that the model gives, shape (N,).
        correct: Whether it came true, shape (N,).
        weights: Shape (R, N).
        bins: Number of bins of equal width.

    Returns:
        Shape (R,), in [0, 1]: the gap between mean probability and true rate per bin, weighted by the bin's share.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3.
    """
    member = np.eye(bins)[bin_of(confidence, bins)]  # (N, bins)
    gaps = weights.astype(np.float64) @ (member * (correct.astype(float) - confidence)[:, None])
    return divide(np.abs(gaps).sum(axis=1), weights.sum(axis=1, dtype=np.float64))
