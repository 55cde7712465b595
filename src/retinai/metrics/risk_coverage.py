"""How well an uncertainty tells right decisions from wrong ones: what is left when the least certain are referred."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import divide


def risk_coverage(
    wrong: NDArray[np.bool_], uncertainty: NDArray[np.float64], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the risk-coverage curve: the share of wrong decisions among the most certain photographs.

    Args:
        wrong: Whether the decision about each photograph is wrong, shape (N,).
        uncertainty: Of each photograph, shape (N,); of equal ones the earlier row counts as more certain.
        weights: How often each photograph counts, shape (R, N), such as those of a bootstrap.

    Returns:
        `coverage`, the share of photographs that are decided, and `risk`, the share of these that are wrong, both of
        shape (R, N), from the most certain photograph to all of them; NaN as long as nothing is covered.

    Source: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
    """
    order = np.argsort(uncertainty, kind="stable")
    sorted_weights = weights[:, order].astype(np.float64)
    covered = np.cumsum(sorted_weights, axis=1)
    risk = divide(np.cumsum(sorted_weights * wrong[order], axis=1), covered)
    return covered / covered[:, -1:], risk


def area_under_risk(
    wrong: NDArray[np.bool_], uncertainty: NDArray[np.float64], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the area under the risk-coverage curve (AURC), shape (R,): the mean risk over all coverages.

    An uncertainty that says nothing gives the error rate; lower is better, 0 where nothing is wrong.
    """
    coverage, risk = risk_coverage(wrong, uncertainty, weights)
    steps = np.diff(coverage, axis=1, prepend=0.0)
    return np.where(steps > 0, risk * steps, 0.0).sum(axis=1)


def accuracy_at(
    wrong: NDArray[np.bool_], uncertainty: NDArray[np.float64], weights: NDArray[np.float32], coverage: float
) -> NDArray[np.float64]:
    """Return the share of right decisions among the most certain photographs, shape (R,).

    Args:
        wrong: As in `risk_coverage`.
        uncertainty: As there.
        weights: As there.
        coverage: The share of photographs that is decided at most, in (0, 1]; the others are referred.
    """
    share, risk = risk_coverage(wrong, uncertainty, weights)
    inside = share <= coverage + 1e-9
    last = inside.sum(axis=1) - 1  # coverage rises along a row
    found = 1 - risk[np.arange(len(risk)), np.maximum(last, 0)]
    return np.where(last >= 0, found, np.nan)
