"""Operating points against scikit-learn's ROC curve and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from retinai.prediction.calibration.operating_points import choose_operating_points, referable_score
from retinai.tasks.known import DME_RISK, DR_GRADE


@pytest.mark.parametrize("decimals", [1, 6])  # with one decimal many scores are equal
@pytest.mark.parametrize("seed", range(5))
def test_points_lie_on_the_roc_curve_and_are_the_best_there(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    ill = rng.random(80) < 0.4
    scores = np.round(np.clip(rng.normal(np.where(ill, 0.6, 0.4), 0.2), 0, 1), decimals)
    points, notes = choose_operating_points(scores, ill)
    false_rate, true_rate, thresholds = roc_curve(ill, scores, drop_intermediate=False)
    some = np.isfinite(thresholds)  # the first one refers nobody
    false_rate, true_rate = false_rate[some], true_rate[some]
    by_sensitivity, youden = points["sensitivity_90"], points["youden"]
    assert by_sensitivity["specificity"] == pytest.approx((1 - false_rate[true_rate >= 0.9]).max())
    assert youden["sensitivity"] + youden["specificity"] - 1 == pytest.approx((true_rate - false_rate).max())
    reachable = 1 - false_rate >= 0.9
    assert ("specificity_90" in points) == bool(reachable.any()) == (not notes)
    if reachable.any():
        assert points["specificity_90"]["sensitivity"] == pytest.approx(true_rate[reachable].max())
    for point in points.values():
        # The rule that is applied to other photographs gives what was promised on these.
        referred = scores >= point["threshold"]
        assert referred[ill].mean() == pytest.approx(point["sensitivity"])
        assert (~referred)[~ill].mean() == pytest.approx(point["specificity"])
        assert (point["n"], point["referable"]) == (80, int(ill.sum()))
        assert np.abs(scores - point["threshold"]).min() > 1e-9  # midway, so that rounding moves nobody


def test_thresholds_by_hand() -> None:
    scores = np.array([0.1, 0.2, 0.4, 0.6, 0.8])
    ill = np.array([False, True, False, True, True])
    points, _ = choose_operating_points(scores, ill, sensitivity=1.0, specificity=1.0)
    assert set(points) == {"sensitivity_100", "specificity_100", "youden"}
    found = {name: (p["threshold"], p["sensitivity"], p["specificity"]) for name, p in points.items()}
    assert found["sensitivity_100"] == pytest.approx((0.15, 1, 0.5))
    assert found["specificity_100"] == pytest.approx((0.5, 2 / 3, 1))
    assert found["youden"] == pytest.approx((0.5, 2 / 3, 1))  # the index is 0.67; at 0.15 it is 0.5


def test_what_cannot_be_chosen_is_said() -> None:
    scores = np.array([0.2, 0.9, 0.9, 0.9])
    none, notes = choose_operating_points(scores, np.zeros(4, bool))
    assert none == {} and "no referable one" in notes[0]
    none, notes = choose_operating_points(scores, np.ones(4, bool))
    assert none == {} and "no non-referable one" in notes[0]
    # Half of the healthy share the highest score with the ill: nothing but referring nobody spares 90 %.
    points, notes = choose_operating_points(scores, np.array([False, True, True, False]))
    assert set(points) == {"sensitivity_90", "youden"}
    assert len(notes) == 1 and "specificity_90" in notes[0] and "share the highest score" in notes[0]


def test_the_score_is_the_probability_of_all_referable_grades() -> None:
    p = np.array([[0.1, 0.2, 0.3, 0.15, 0.25]])
    assert referable_score(p, DR_GRADE) == pytest.approx([0.7])
    with pytest.raises(ValueError, match="dme_risk"):
        referable_score(p[:, :3], DME_RISK)
