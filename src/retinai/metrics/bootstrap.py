"""Percentile bootstrap, clustered by patient: whole patients are drawn, with all their photographs.

A resample is a row of weights: how often each photograph occurs in it. So every metric is written once,
for weighted photographs, and computed for all resamples together. Row 0 of the weights is all ones: it
gives the value itself, the other rows the interval.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; for clusters:
Field and Welsh, "Bootstrapping clustered data", J. R. Statist. Soc. B 69, 2007.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
# An interval rests on at least this share of the resamples; below, a metric is too often undefined.
MIN_DEFINED = 0.5

Interval = dict[str, float | None]


def bootstrap_weights(patients: Sequence[str], resamples: int, seed: int) -> NDArray[np.float32]:
    """Draw patients with replacement and return how often each photograph occurs.

    Args:
        patients: Whose photograph it is, N.
        resamples: Number of resamples R; 0 gives values without intervals.
        seed: Seed of the draw.

    Returns:
        Shape (R + 1, N), float32 whole numbers; row 0 is all ones.
    """
    _, cluster = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    number = int(cluster.max()) + 1 if len(cluster) else 0
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / max(number, 1)), size=resamples)
    return np.concatenate([np.ones((1, len(cluster))), drawn[:, cluster]]).astype(np.float32)


def interval(values: NDArray[np.float64]) -> Interval:
    """Return value and 95 % percentile interval of a metric.

    Args:
        values: The metric of the data and of R resamples, shape (R + 1,); NaN where undefined.

    Returns:
        `{"value", "low", "high"}`; None where undefined. Resamples in which the metric is undefined
        are left out, and the interval is undefined when more than half of them are.
    """
    value, draws = float(values[0]), values[1:]
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    defined = draws[~np.isnan(draws)]
    if len(defined) == 0 or len(defined) < MIN_DEFINED * len(draws):
        return {"value": value, "low": None, "high": None}
    low, high = np.percentile(defined, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return {"value": value, "low": float(low), "high": float(high)}


def divide(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide elementwise; NaN where the denominator is 0."""
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below != 0)


def mean_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is defined; NaN where nothing is."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1).astype(float))
