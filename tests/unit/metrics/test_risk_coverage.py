"""Risk-coverage against a loop by hand and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from retinai.metrics.risk_coverage import accuracy_at, area_under_risk, risk_coverage


def ones(n: int) -> np.ndarray:
    return np.ones((1, n), dtype=np.float32)


def test_the_curve_is_that_of_a_loop_and_weights_repeat_photographs() -> None:
    generator = np.random.default_rng(0)
    wrong, unsure = generator.random(40) < 0.3, generator.random(40)
    order = np.argsort(unsure)
    risks = [wrong[order[: k + 1]].mean() for k in range(40)]
    coverage, risk = risk_coverage(wrong, unsure, ones(40))
    np.testing.assert_allclose(risk[0], risks)
    np.testing.assert_allclose(coverage[0], np.arange(1, 41) / 40)
    assert area_under_risk(wrong, unsure, ones(40))[0] == pytest.approx(np.mean(risks))
    counts = generator.integers(0, 3, 40)
    again = np.repeat(wrong, counts), np.repeat(unsure, counts)
    weights = counts[None].astype(np.float32)
    found = accuracy_at(wrong, unsure, weights, 1.0)[0]
    assert found == pytest.approx(accuracy_at(*again, ones(counts.sum()), 1.0)[0]) == pytest.approx(1 - again[0].mean())


def test_a_perfect_order_a_useless_one_and_the_most_certain() -> None:
    n, k = 100, 20
    wrong = np.arange(n) >= n - k
    best = area_under_risk(wrong, np.arange(n, dtype=float), ones(n))[0]
    assert best == pytest.approx(sum((m - (n - k)) / m for m in range(n - k + 1, n + 1)) / n)
    assert accuracy_at(wrong, np.arange(n, dtype=float), ones(n), 0.8)[0] == 1.0
    generator = np.random.default_rng(1)
    useless = [area_under_risk(wrong, generator.random(n), ones(n))[0] for _ in range(300)]
    assert np.mean(useless) == pytest.approx(k / n, abs=0.02)
    assert np.isnan(accuracy_at(wrong, np.arange(n, dtype=float), ones(n), 0.001)[0])
