"""Metrics of masks against scikit-learn, hand calculation, and planted lesions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from retinai.lesions.pixel_metrics import LEVELS, MASK_NAMES, best_thresholds, count_masks, mask_metrics

SHAPE = (24, 30)


def _case(seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Probabilities that know a little of the masks; the last kind but one is drawn nowhere."""
    rng = np.random.default_rng(seed)
    masks = {name: rng.random(SHAPE) < 0.1 for name in MASK_NAMES if name != "soft_exudates"}
    empty = np.zeros(SHAPE, bool)
    return {n: np.clip(rng.random(SHAPE) * 0.7 + 0.3 * masks.get(n, empty), 0, 1) for n in MASK_NAMES}, masks


def test_areas_are_those_of_scikit_learn() -> None:
    cases = [_case(seed) for seed in range(3)]
    counts = [count_masks(*case, {}) for case in cases]
    found = mask_metrics([*counts, None], {}, resamples=50)
    assert found["photographs"] == 3
    for name in MASK_NAMES:
        truth = np.concatenate([m.get(name, np.zeros(SHAPE, bool)).ravel() for _, m in cases])
        scores = np.concatenate([np.minimum((p[name] * LEVELS).astype(int), LEVELS - 1).ravel() for p, _ in cases])
        values = found["masks"][name]["aupr"]
        if name == "soft_exudates":
            assert values == {"value": None, "low": None, "high": None}
            continue
        assert values["value"] == pytest.approx(average_precision_score(truth, scores))
        # A thousand levels lose next to nothing of the exact probabilities.
        exact = average_precision_score(truth, np.concatenate([p[name].ravel() for p, _ in cases]))
        assert values["value"] == pytest.approx(exact, abs=0.01)
        assert values["low"] <= values["value"] <= values["high"]


def test_thresholds_have_the_largest_f1() -> None:
    probabilities, masks = _case(0)
    chosen = best_thresholds([count_masks(probabilities, masks, {})])
    assert "soft_exudates" not in chosen
    for name, threshold in chosen.items():
        truth, scores = masks[name].ravel(), probabilities[name].ravel()
        best = max(f1_score(truth, scores >= t / LEVELS) for t in range(1, LEVELS, 7))
        assert f1_score(truth, scores >= threshold) >= best
    # On one photograph F1 of its pixels is its Dice coefficient.
    found = mask_metrics([count_masks(probabilities, masks, chosen)], chosen, resamples=0)["masks"]
    for name, threshold in chosen.items():
        dice = f1_score(masks[name].ravel(), probabilities[name].ravel() >= threshold)
        assert found[name]["dice"]["value"] == pytest.approx(dice)


def test_planted_lesions_are_counted_as_regions() -> None:
    drawn, guessed = np.zeros(SHAPE, bool), np.zeros(SHAPE)
    for row in (2, 8, 14):
        drawn[row : row + 3, 2:5] = True
    guessed[3, 3] = guessed[8, 2] = 0.9  # two of three are found
    guessed[20:22, 20:22] = 0.8  # a false alarm
    guessed[14, 2] = 0.4  # below the threshold
    probabilities = {name: guessed if name == "microaneurysms" else np.zeros(SHAPE) for name in MASK_NAMES}
    counts = count_masks(probabilities, {"microaneurysms": drawn}, {})
    assert counts.regions[0].tolist() == [3, 2, 1] and counts.regions[1:].sum() == 0
    found = mask_metrics([counts, counts], {}, resamples=20)["masks"]["microaneurysms"]
    assert found["sensitivity"]["value"] == pytest.approx(2 / 3) and found["false_alarms"]["value"] == 1.0
    assert str(counts).startswith("microaneurysms 0.")


def test_a_perfect_mask_has_an_area_of_one() -> None:
    _, masks = _case(1)
    empty = np.zeros(SHAPE, bool)
    counts = count_masks({name: masks.get(name, empty).astype(float) for name in MASK_NAMES}, masks, {})
    for name, values in mask_metrics([counts], {}, resamples=0)["masks"].items():
        assert values["aupr"]["value"] == values["dice"]["value"] == (1.0 if name in masks else None)


def test_nothing_drawn_measures_nothing() -> None:
    assert mask_metrics([None, None], {}) == {"photographs": 0, "masks": {}}
