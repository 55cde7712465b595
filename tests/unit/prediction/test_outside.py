"""Distances from the training's features, beside scikit-learn and scipy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.stats import binom
from sklearn.decomposition import PCA

from retinai.config.record_schemas import OutsideFacts, check_record
from retinai.prediction.outside import KnownFeatures, fit_outside


def features(n: int, seed: int = 0) -> np.ndarray:
    """Correlated features of 40 numbers."""
    mixing = np.random.default_rng(99).normal(size=(40, 40)) * np.linspace(2, 0.1, 40)
    return np.random.default_rng(seed).normal(size=(n, 40)) @ mixing.T + 3


@pytest.fixture(scope="module")
def known() -> KnownFeatures:
    found, notes = fit_outside(features(200), features(100, 1))
    assert found is not None and notes == []
    return found


def test_the_distance_is_that_of_mahalanobis_with_the_covariance_of_probabilistic_pca(known: KnownFeatures) -> None:
    oracle = PCA(32, svd_solver="full").fit(features(200))
    precision = oracle.get_precision()
    seen = features(5, 2)
    by_hand = np.array([mahalanobis(row, oracle.mean_, precision) for row in seen])
    validation = sorted(mahalanobis(row, oracle.mean_, precision) for row in features(100, 1))
    assert known.limit == pytest.approx(validation[95], rel=1e-5)  # the 96th of 100: ceil(101 * 0.95)
    np.testing.assert_allclose(known.distances(seen), by_hand / validation[95], rtol=1e-4)


def test_the_limit_holds_for_photographs_like_those_of_validation() -> None:
    alarms = []
    for seed in range(60):
        found, _ = fit_outside(features(60), features(39, 1000 + seed))
        assert found is not None
        alarms.append((found.distances(features(50, 5000 + seed)) > 1).sum())
    # At most 5 %, and not much less: 1 of 40.
    low, high = binom.interval(0.9999, 3000, [0.02, 0.05])
    assert low[0] < sum(alarms) < high[1] * 1.3


def test_what_differs_lies_farther(known: KnownFeatures) -> None:
    away = features(50, 3) + 12 * known.components[-1]
    assert (known.distances(away) > 1).mean() > 0.9 > 0.2 > (known.distances(features(50, 3)) > 1).mean()
    # Along the direction in which photographs differ most, the same step says little.
    assert known.distances(features(50, 3) + 12 * known.components[0]).mean() < 0.7 * known.distances(away).mean()


def test_it_travels_as_plain_values(known: KnownFeatures) -> None:
    text = json.dumps(known.to_dict())
    again = KnownFeatures.from_dict(json.loads(text))
    np.testing.assert_allclose(again.distances(features(5, 2)), known.distances(features(5, 2)), rtol=1e-12)
    check_record(OutsideFacts, known.facts())


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"features": "no base64!"}, "base64"),
        ({"width": 41}, "another shape"),
        ({"noise": 0.0}, "noise"),
        ({"limit": float("nan")}, "limit"),
        ({"variances": [1.0] * 31}, "another shape"),
        ({"more": 1}, "more"),
    ],
)
def test_damaged_values_are_told(known: KnownFeatures, change: dict[str, object], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        KnownFeatures.from_dict({**known.to_dict(), **change})


@pytest.mark.parametrize(
    ("trained", "validated", "part"),
    [
        (features(19), features(100), "there are 19 and 100"),
        (features(50), features(18), "there are 50 and 18"),
        (np.ones((50, 40)), np.ones((50, 40)), "the same features"),
    ],
)
def test_too_little_is_a_sentence(trained: np.ndarray, validated: np.ndarray, part: str) -> None:
    found, notes = fit_outside(trained, validated)
    assert found is None and part in notes[0]
