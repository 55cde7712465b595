"""Intensities inside regions, against plain loops and cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from retinai.explain.regions import RegionMeter, enlarge, reference_maps
from retinai.metrics.bootstrap import bootstrap_weights

SIDE = 64
FAMILIES = {"lesions": ("spot", "ring"), "disc": ("disc",)}
Y, X = np.mgrid[:SIDE, :SIDE]
INSIDE = (Y - 31.5) ** 2 + (X - 31.5) ** 2 <= 30**2


def square(top: int, left: int, side: int = 6) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_a_uniform_map_has_the_ratio_one_exactly_and_is_not_significant() -> None:
    meter = RegionMeter(FAMILIES)
    for i in range(4):
        meter.add(str(i), str(i), np.ones((8, 8)), {"spot": square(20, 12 + i), "disc": square(30, 44)}, INSIDE)
    for figures in meter.results(100).values():
        assert figures["pooled"] == figures["mean"] == {"value": 1.0, "low": 1.0, "high": 1.0}
        assert figures["excess"] == pytest.approx(1) and figures["p"] == pytest.approx(1)


def test_both_estimators_equal_plain_loops() -> None:
    draw, meter = np.random.default_rng(0), RegionMeter(FAMILIES, turns=0)
    sums, ratios = np.zeros(4), []
    for i in range(5):
        saliency = draw.random((SIDE, SIDE)).astype(np.float32) ** 3
        masks = {"spot": square(10 + 5 * i, 20), "ring": square(40, 12 + 4 * i)}
        meter.add(str(i), f"p{i // 2}", saliency, masks, INSIDE)
        rest = INSIDE & ~masks["spot"] & ~masks["ring"]
        spot = masks["spot"] & INSIDE
        own = np.array([saliency[spot].sum(), spot.sum(), saliency[rest].sum(), rest.sum()], float)
        sums += own
        ratios.append((own[0] / own[1]) / (own[2] / own[3]))
    found = meter.results(0)["spot"]
    assert found["pooled"]["value"] == pytest.approx((sums[0] / sums[1]) / (sums[2] / sums[3]), rel=1e-5)
    assert found["mean"]["value"] == pytest.approx(np.mean(ratios), rel=1e-5)
    assert found["photographs"] == 5 and found["excess"] is None
    assert found["energy"] == pytest.approx(sums[0] / (sums[0] + sums[2]), rel=1e-5)


def test_the_interval_draws_whole_patients() -> None:
    meter = RegionMeter({"lesions": ("spot",)}, turns=0)
    values = [1.0, 3.0, 5.0, 2.0]
    for i, value in enumerate(values):
        mask = square(20, 20)
        meter.add(str(i), "ab"[i % 2], np.where(mask, value, 1.0), {"spot": mask}, INSIDE)
    weights = bootstrap_weights(["a", "b", "a", "b"], 500, 0)[1:]
    low, high = np.percentile(weights @ np.array(values) / weights.sum(axis=1), [2.5, 97.5])
    found = meter.results(500)["spot"]["mean"]
    assert (found["low"], found["high"]) == pytest.approx((low, high), rel=1e-6)


def test_a_map_that_points_at_the_region_is_far_above_turned_ones_and_one_that_looks_elsewhere_below() -> None:
    found = {}
    for name, place in (("there", square(12, 30)), ("elsewhere", square(46, 30))):
        meter = RegionMeter({"lesions": ("spot",)})
        for i in range(6):
            meter.add(f"{name}{i}", str(i), place + 0.01, {"spot": square(12, 30)}, INSIDE)
        found[name] = meter.results(100)["spot"]
    assert found["there"]["excess"] > 5 and found["there"]["p"] == pytest.approx(1 / 201)
    assert found["there"]["pointing"] == 1 and found["there"]["pointing_turned"] < 0.2
    assert found["elsewhere"]["pooled"]["value"] < 0.5 and found["elsewhere"]["p"] > 0.5


def test_what_is_zero_or_empty_is_counted_and_left_out() -> None:
    meter = RegionMeter(FAMILIES)
    meter.add("a", "a", np.zeros((4, 4)), {"spot": square(20, 20)}, INSIDE)
    meter.add("b", "b", -np.ones((4, 4)), {"spot": square(20, 20)}, INSIDE)
    meter.add("c", "c", np.ones((4, 4)), {"spot": np.zeros((SIDE, SIDE), bool)}, INSIDE)
    meter.add("d", "d", np.ones((4, 4)), {}, INSIDE)
    assert meter.zero == 2 and meter.photographs == 4 and meter.results(10) == {}


def test_maps_are_enlarged_between_the_middles_of_cells() -> None:
    assert enlarge(np.array([[0.0, 1.0]], np.float32).repeat(2, 0), 4)[0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_maps_that_know_nothing_of_the_network() -> None:
    photograph = np.zeros((SIDE, SIDE, 3), np.uint8)
    photograph[:, 32:] = 200
    found = reference_maps(photograph, INSIDE)
    assert (found["uniform"] == 1).all() and found["centre"].argmax() // SIDE in (31, 32)
    rows, columns = np.nonzero(found["edges"] > 0.5 * found["edges"].max())
    assert set(columns) <= {31, 32} and INSIDE[rows, columns].all()
