"""How unsure several networks are about a photograph, and how far they disagree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ENTROPY, MUTUAL_INFORMATION = "entropy", "mutual_information"
# Columns of predictions of several networks, in the order of the tables.
COLUMNS = (ENTROPY, MUTUAL_INFORMATION)


def entropy(probabilities: NDArray[Any], distribution: str) -> NDArray[np.float64]:
    """Return the entropy of probabilities in nats, 0 where one class is certain.

    Args:
        probabilities: Shape (..., C), in [0, 1].
        distribution: `categorical`: sum of -p log p, at most log C. `bernoulli`: the labels are independent, so it is
            the sum of the entropies of the labels, at most C log 2.

    Returns:
        Shape (...), float64; NaN where a probability is no number.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    terms = _terms(values)
    if distribution == "bernoulli":
        terms = terms + _terms(1 - values)
    return terms.sum(axis=-1)


def disagreement(members: NDArray[Any], distribution: str) -> dict[str, NDArray[np.float64]]:
    """Return what several networks say of their own certainty, by the names of `COLUMNS`.

    `entropy` is that of their mean, all that is not known. `mutual_information` is what of it comes from their
    disagreement: the entropy of the mean minus the mean of their entropies, 0 where all say the same.

    Args:
        members: Probabilities of M networks for N photographs, shape (N, M, C).
        distribution: As in `entropy`.

    Returns:
        Two arrays of shape (N,), in nats.

    Source: Depeweg et al., "Decomposition of Uncertainty in Bayesian Deep Learning", ICML 2018, section 3; for
        ensembles Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation", NeurIPS 2017.
    """
    values = np.asarray(members, dtype=np.float64)
    whole = entropy(values.mean(axis=1), distribution)
    own = entropy(values, distribution).mean(axis=1)
    # Never below 0 but for rounding, since entropy is concave.
    return {ENTROPY: whole, MUTUAL_INFORMATION: np.maximum(whole - own, 0.0)}


def _terms(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -p log p, 0 at 0."""
    positive = np.where(values > 0, values, 1.0)
    return np.where(np.isnan(values), np.nan, -positive * np.log(positive))
