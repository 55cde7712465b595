"""Areas under the ROC and the precision-recall curve of weighted photographs, for all resamples at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import divide

# Elements of one block of resamples x photographs: bounds the memory at some tens of megabytes.
_BLOCK = 2_000_000


def ranking_areas(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return AUROC and average precision under each row of weights; equal scores share a rank.

    Args:
        scores: Shape (N,), higher means more likely positive.
        positive: Shape (N,), bool.
        weights: Shape (R, N), how often each photograph counts.

    Returns:
        AUROC and average precision, each of shape (R,). AUROC is NaN without a positive or without
        a negative, average precision NaN without a positive.

    Source: AUROC as the probability that a positive outranks a negative, ties counting one half
    (Hanley and McNeil 1982); average precision as the step sum over thresholds, without interpolation.
    """
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    step = max(1, _BLOCK // max(len(scores), 1))
    parts = [
        _areas(weights[row : row + step][:, order].astype(np.float64), positive[order], starts)
        for row in range(0, len(weights), step)
    ]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _areas(
    weights: NDArray[np.float64], positive: NDArray[np.bool_], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute both areas from weights in ascending order of score; `starts` begins each run of equal scores."""
    everything = np.add.reduceat(weights, starts, axis=1)
    positives = np.add.reduceat(weights * positive, starts, axis=1)
    negatives = everything - positives
    total_positive, total_negative = positives.sum(axis=1), negatives.sum(axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    wins = (positives * (below + negatives / 2)).sum(axis=1)
    # From the highest score downwards: photographs called positive at each threshold.
    called = np.cumsum(everything[:, ::-1], axis=1)
    hits = np.cumsum(positives[:, ::-1], axis=1)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    area = (precision * positives[:, ::-1]).sum(axis=1)
    return divide(wins, total_positive * total_negative), divide(area, total_positive)
