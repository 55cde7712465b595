"""Class shares without labels: recovered where they are simulated, and corrections by Bayes' rule."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from retinai.metrics.label_shift import corrected, estimate_shares

TRAINED = np.array([0.5, 0.3, 0.2])


def simulated(shares: np.ndarray, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, one number per photograph, and the exact probabilities of a training with TRAINED shares."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=n, p=shares)
    seen = rng.normal(labels * 1.5, 1)
    likelihoods = norm.pdf(seen[:, None], np.arange(3) * 1.5, 1)
    joint = likelihoods * TRAINED
    return labels, likelihoods, joint / joint.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shares", [(0.1, 0.2, 0.7), (0.5, 0.3, 0.2), (0.9, 0.05, 0.05), (0.0, 0.5, 0.5)])
def test_simulated_shares_are_recovered_and_probabilities_become_those_of_bayes(shares: tuple[float, ...]) -> None:
    true = np.array(shares)
    labels, likelihoods, probabilities = simulated(true, 20_000)
    found = estimate_shares(probabilities, TRAINED)
    np.testing.assert_allclose(found, true, atol=0.02)
    bayes = likelihoods * true
    by_hand = bayes / bayes.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(corrected(probabilities, TRAINED, true), by_hand, atol=1e-9)
    assert (by_hand.argmax(1) == labels).mean() >= (probabilities.argmax(1) == labels).mean() - 0.002


def test_the_estimate_is_that_of_the_highest_likelihood() -> None:
    _, likelihoods, probabilities = simulated(np.array([0.2, 0.2, 0.6]), 300)

    def loss(logits: np.ndarray) -> float:
        shares = np.exp(logits) / np.exp(logits).sum()
        return -np.log(likelihoods @ shares).sum()

    best = minimize(loss, np.zeros(3), method="BFGS").x
    np.testing.assert_allclose(estimate_shares(probabilities, TRAINED), np.exp(best) / np.exp(best).sum(), atol=1e-4)


def test_nothing_changes_where_shares_are_the_same_and_impossible_rows_stay() -> None:
    _, _, probabilities = simulated(TRAINED, 50)
    np.testing.assert_allclose(corrected(probabilities, TRAINED, TRAINED), probabilities)
    certain = np.array([[1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(corrected(certain, TRAINED, np.array([0.0, 0.5, 0.5])), certain)
