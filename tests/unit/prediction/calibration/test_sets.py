"""Sets of grades: what they promise holds on photographs like those of the calibration, and equals an oracle's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from retinai.metrics.decisions import decide
from retinai.prediction.calibration.operating_points import choose_bounded_point, lower_bounds
from retinai.prediction.calibration.sets import fit_sets, growing_scores, prediction_sets, set_results
from retinai.prediction.photographs import Photographs
from retinai.prediction.table import prediction_table
from retinai.tasks.known import DR_GRADE


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of an overconfident network for five grades, and true grades."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(5, n, p=[0.35, 0.1, 0.3, 0.15, 0.1])
    seen = truth + generator.normal(0, 0.9, n)
    logits = -2.5 * np.abs(np.arange(5) - seen[:, None])
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True), truth


def test_the_interval_grows_by_the_more_probable_neighbour() -> None:
    scores = growing_scores(np.array([[0.05, 0.2, 0.4, 0.3, 0.05]]), "median")
    np.testing.assert_allclose(scores, [[1.0, 0.9, 0.4, 0.7, 0.95]])  # of equal neighbours the higher grade first
    assert prediction_sets(np.array([[0.05, 0.2, 0.4, 0.3, 0.05]]), "median", {"quantile": 0.7}).tolist() == [
        [False, False, True, True, False]
    ]


def test_the_quantile_is_the_one_of_the_definition() -> None:
    shares = np.array([[p, 1 - p] for p in np.linspace(0.95, 0.55, 9)])
    fitted = fit_sets(shares, np.zeros(9, dtype=np.int64), "argmax", level=0.8)
    assert fitted == {"level": 0.8, "quantile": pytest.approx(np.linspace(0.55, 0.95, 9)[7]), "n": 9}  # the 8th of 9
    assert fit_sets(shares[:8], np.zeros(8, dtype=np.int64), "argmax", level=0.9)["quantile"] == 1.0  # too few


@pytest.mark.parametrize("rule", ["argmax", "median"])
def test_sets_are_those_of_crepes(rule: str) -> None:
    from crepes import ConformalClassifier

    (known, truth), (new, _) = drawn(200, 1), drawn(300, 2)
    oracle = ConformalClassifier()
    oracle.fit(growing_scores(known, rule)[np.arange(200), truth])
    expected = oracle.predict_set(growing_scores(new, rule), confidence=0.9, smoothing=False).astype(bool)
    expected[np.arange(300), decide(new, rule)] = True  # ours are never empty
    assert np.array_equal(prediction_sets(new, rule, fit_sets(known, truth, rule)), expected)


def test_sets_are_neighbours_and_hold_the_decision() -> None:
    new, _ = drawn(500, 3)
    members = prediction_sets(new, "median", {"quantile": 0.85})
    assert members[np.arange(500), decide(new, "median")].all()
    assert (np.diff(np.pad(members, ((0, 0), (1, 1))).astype(int), axis=1) == 1).sum(axis=1).max() == 1
    assert not prediction_sets(np.full((1, 5), np.nan), "median", {"quantile": 0.85}).any()


@pytest.mark.parametrize("n", [20, 44, 150])
def test_the_promise_holds_on_average(n: int) -> None:
    held = tested = 0
    for seed in range(200):
        shares, truth = drawn(n + 50, seed)
        fitted = fit_sets(shares[:n], truth[:n], "median")
        result = set_results(
            prediction_sets(shares[n:], "median", fitted), truth[n:], np.ones((1, 50), dtype=np.float32)
        )
        held, tested = held + round(50 * result["coverage"][0]), tested + 50
        assert 1 <= result["mean_size"][0] <= 5
    # One-sided, and wider than binomial: the 50 of a draw share their quantile.
    assert held >= binom.ppf(1e-4, tested, 0.9) - 0.01 * tested


def test_tables_name_the_grades_of_a_set() -> None:
    shares, _ = drawn(4, 5)
    calibration = {"temperature": 1.0, "scaling": "cumulative", "sets": {"level": 0.9, "quantile": 0.9, "n": 50}}
    photographs = Photographs(list("abcd"), list("abcd"))
    table = prediction_table(DR_GRADE, "median", photographs, shares, ["", "", "broken", ""], calibration)
    assert list(table.columns)[-2:] == ["set_90", "error"] and table["set_90"].isna().tolist() == [0, 0, 1, 0]
    members = prediction_sets(shares, "median", calibration["sets"])
    inside = [name for name, member in zip(DR_GRADE.classes, members[0], strict=True) if member]
    assert table["set_90"][0].split("|") == inside


def test_bounds_are_those_of_scipy() -> None:
    for hits, n in ((0, 20), (17, 20), (20, 20), (58, 60)):
        oracle = binomtest(hits, n, alternative="greater").proportion_ci(0.95, method="exact").low
        assert lower_bounds(np.array([hits]), n, 0.95)[0] == pytest.approx(oracle, abs=1e-12)


def test_a_promised_sensitivity_is_broken_as_rarely_as_stated() -> None:
    broken = chosen = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        ill = generator.random(200) < 0.5
        scores = 1 / (1 + np.exp(-generator.normal(np.where(ill, 1.0, -1.0), 1.0)))
        points, notes = choose_bounded_point(scores, ill)
        if not points:
            continue
        chosen += 1
        threshold = points["sensitivity_90_bound"]["threshold"]
        true = 1 - _normal_cdf(np.log(threshold / (1 - threshold)) - 1.0)
        broken += true < 0.9
        assert points["sensitivity_90_bound"]["lower"] >= 0.9 and not notes
    assert chosen > 290 and broken <= binom.ppf(0.999, chosen, 0.05)


def test_too_few_photographs_promise_nothing_and_say_how_many_it_takes() -> None:
    ill = np.repeat([True, False], 20)
    points, notes = choose_bounded_point(np.linspace(1, 0, 40), ill)
    assert points == {} and "takes 29 or more" in notes[0]


def _normal_cdf(value: float) -> float:
    from scipy.stats import norm

    return float(norm.cdf(value))
