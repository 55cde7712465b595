"""Metrics of numbers against scikit-learn and numpy, weighted rows against repeated photographs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from retinai.metrics.number import number_metrics


def test_against_scikit_learn_and_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(50, 10, 40)
    predicted = targets + rng.normal(1, 4, 40)
    weights = np.stack([np.ones(40), rng.integers(0, 4, 40)]).astype(np.float32)
    found = number_metrics(targets, predicted, weights)
    for row in range(2):
        times = weights[row].astype(int)
        true, said = np.repeat(targets, times), np.repeat(predicted, times)
        spread = 1.96 * (said - true).std(ddof=1)
        expected = {
            "mae": sk.mean_absolute_error(true, said),
            "rmse": sk.root_mean_squared_error(true, said),
            "r2": sk.r2_score(true, said),
            "bias": (said - true).mean(),
            "agreement_low": (said - true).mean() - spread,
            "agreement_high": (said - true).mean() + spread,
        }
        assert {key: values[row] for key, values in found.items()} == pytest.approx(expected, rel=1e-6)


def test_numbers_that_are_all_one_have_no_r2() -> None:
    found = number_metrics(np.full(5, 3.0), np.arange(5.0), np.ones((1, 5), dtype=np.float32))
    assert np.isnan(found["r2"][0]) and found["mae"][0] == pytest.approx(1.4)
