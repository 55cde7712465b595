"""Holm against statsmodels, ranks against a hand calculation, and who wins."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from retinai.embeddings.comparison import average_ranks, count_results, holm, paired_differences


@pytest.mark.parametrize("count", [1, 2, 40])
def test_holm_is_statsmodels(count: int) -> None:
    p = np.random.default_rng(count).uniform(0, 0.2, count) ** 2
    np.testing.assert_allclose(holm(p.tolist()), multipletests(p, method="holm")[1])
    assert holm([]) == []


def test_wins_ties_and_losses() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(0, 0.1, 501)

    def draws(value: float, spread: float = 0.005) -> np.ndarray:
        return np.r_[value, value + common[1:] + rng.normal(0, spread, 500)]

    scores = {
        "a": {"good": draws(0.9), "bad": draws(0.8)},
        "b": {"good": draws(0.7), "bad": draws(0.701)},
        "c": {"good": draws(0.6), "bad": draws(0.7)},
        "undefined": {"good": np.full(501, np.nan), "bad": draws(0.7)},
    }
    found = paired_differences(scores)
    # What both share, a hard resample, cancels out: alone it is twenty times as wide as the difference.
    assert [d.result for d in found] == ["win", "tie", "loss"] and found[0].high - found[0].low < 0.05
    assert count_results(found, ["good", "bad"])["bad", "good"] == {"win": 1, "tie": 1, "loss": 1}


def test_equal_files_tie() -> None:
    same = np.linspace(0.5, 0.9, 101)
    (found,) = paired_differences({"a": {"x": same, "y": same}})
    assert found.p == 1 and found.result == "tie"


def test_average_ranks_by_hand() -> None:
    scores = {
        "t1": {"a": 0.9, "b": 0.8, "c": 0.7},
        "t2": {"a": 0.9, "b": 0.7, "c": 0.7},
        "t3": {"a": 1, "b": 2, "c": 0},
    }
    ranks = average_ranks(scores | {"t4": {"a": np.nan, "b": 1, "c": 1}})
    assert ranks is not None and ranks.targets == 3
    assert dict(ranks.ranks) == pytest.approx({"a": 4 / 3, "b": 5.5 / 3, "c": 8.5 / 3})
    # Demsar 2006, table 5: q = 2.343 for three.
    assert ranks.critical_difference == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 3)), abs=1e-3)
    assert average_ranks({"t1": {"a": 0.9, "b": 0.8}}) is None
