"""Entropy and mutual information against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from retinai.prediction.uncertainty import disagreement, entropy


def test_entropy_is_that_of_scipy_and_labels_are_added_up() -> None:
    drawn = np.random.default_rng(0).dirichlet(np.full(5, 0.5), 50)
    np.testing.assert_allclose(entropy(drawn, "categorical"), scipy.stats.entropy(drawn, axis=1))
    labels = np.array([[0.5, 1.0, 0.0], [0.2, 0.9, 0.5]])
    expected = [sum(scipy.stats.entropy([p, 1 - p]) for p in row) for row in labels]
    np.testing.assert_allclose(entropy(labels, "bernoulli"), expected)
    assert entropy(np.array([0.0, 1.0]), "categorical") == 0
    assert np.isnan(entropy(np.array([np.nan, 1.0]), "categorical"))


def test_two_networks_by_hand() -> None:
    sure, split = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    doubting = np.full((2, 2), 0.5)
    found = disagreement(np.stack([sure, split, doubting]), "categorical")
    np.testing.assert_allclose(found["entropy"], [0, np.log(2), np.log(2)])
    # Only the second photograph is unknown because the networks disagree.
    np.testing.assert_allclose(found["mutual_information"], [0, np.log(2), 0])


@pytest.mark.parametrize("distribution", ["categorical", "bernoulli"])
def test_mutual_information_is_the_mean_divergence_from_the_mean(distribution: str) -> None:
    generator = np.random.default_rng(1)
    members = (
        generator.dirichlet(np.ones(4), (30, 3)) if distribution == "categorical" else generator.random((30, 3, 4))
    )
    mean = members.mean(axis=1, keepdims=True)
    divergence = (members * np.log(members / mean)).sum(axis=-1)
    if distribution == "bernoulli":
        divergence = divergence + ((1 - members) * np.log((1 - members) / (1 - mean))).sum(axis=-1)
    found = disagreement(members, distribution)["mutual_information"]
    np.testing.assert_allclose(found, divergence.mean(axis=1), atol=1e-12)
