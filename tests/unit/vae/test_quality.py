"""Measures of generators against scipy's root of a matrix, loops over photographs, and cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from retinai.vae.quality import (
    frechet_distance,
    high_frequency_ratio,
    judge,
    memorisation,
    neighbourhoods,
    with_interval,
)


def features(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (n, 5)) * [1, 2, 0.5, 1, 3]


def test_frechet_distance_is_that_of_the_roots_of_matrices() -> None:
    real, made = features(40, 0), features(60, 1, 0.4)
    a, b = np.cov(real, rowvar=False), np.cov(made, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real
    expected = np.square(real.mean(0) - made.mean(0)).sum() + np.trace(a + b - 2 * root)
    assert frechet_distance(real, made) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-8)


def test_neighbourhoods_by_loops_over_photographs() -> None:
    real, made, k = features(30, 0), features(25, 1, 0.8), 3

    def reach(points: np.ndarray, i: int) -> float:
        return sorted(float(np.linalg.norm(points[i] - points[j])) for j in range(len(points)) if j != i)[k - 1]

    near = [[float(np.linalg.norm(r - m)) for m in made] for r in real]
    inside = [[near[i][j] < reach(real, i) for j in range(len(made))] for i in range(len(real))]
    expected = {
        "precision": np.mean([any(inside[i][j] for i in range(len(real))) for j in range(len(made))]),
        "recall": np.mean([any(near[i][j] < reach(made, j) for j in range(len(made))) for i in range(len(real))]),
        "density": np.sum(inside) / k / len(made),
        "coverage": np.mean([min(near[i]) < reach(real, i) for i in range(len(real))]),
    }
    assert neighbourhoods(real, made, k) == pytest.approx(expected)


def test_a_generator_that_gives_back_what_it_saw_is_told() -> None:
    trained, held_out = features(50, 0), features(40, 1)
    assert memorisation(trained, held_out, trained[:20]) == 1.0
    assert memorisation(trained, held_out, features(200, 2)) == pytest.approx(0.5, abs=0.12)
    assert memorisation(trained, held_out, features(20, 3, 30)) == 0.0


def test_blur_loses_high_frequencies() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (4, 32, 32)).astype(np.uint8)
    blurred = np.asarray((sharp + np.roll(sharp.astype(int), 1, 1) + np.roll(sharp.astype(int), 1, 2)) / 3, np.uint8)
    assert high_frequency_ratio(sharp, sharp) == pytest.approx(1.0)
    assert high_frequency_ratio(sharp, blurred) < 0.6


def test_intervals_hold_the_value_and_shrink_with_more_photographs() -> None:
    few, many = (with_interval(frechet_distance, features(n, 0), features(n, 1), 40, 0) for n in (40, 400))
    for found in (few, many):
        assert found["low"] < found["value"] < found["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]


def test_real_photographs_judge_better_than_others() -> None:
    trained, held_out = features(60, 0), features(40, 1)
    same, other = judge(trained, held_out, features(40, 2)), judge(trained, held_out, features(40, 3, 3.0))
    assert same["frechet"]["value"] < other["frechet"]["value"]
    for name in ("precision", "recall", "coverage"):
        assert same[name]["value"] > other[name]["value"]
