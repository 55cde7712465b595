"""Thresholds per label against scikit-learn's sweep, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_curve

from retinai.errors import UserError
from retinai.prediction.calibration.fitting import fit_calibration
from retinai.prediction.calibration.label_thresholds import (
    choose_label_thresholds,
    labels_from,
    stored_thresholds,
)
from retinai.prediction.predictions import Predictions
from retinai.tasks.known import ODIR_COURSE


def drawn(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 3)) < [0.5, 0.3, 0.15]).astype(np.int64)
    # Coarse scores, so that photographs share some; those of the second label lie low.
    scores = np.clip(rng.normal(0.35 + 0.25 * targets, 0.2), 0, 1).round(2) * [1.0, 0.5, 1.0]
    return scores, targets


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_has_a_higher_f1(seed: int) -> None:
    scores, targets = drawn(seed=seed)
    thresholds, notes = choose_label_thresholds(scores, targets, ODIR_COURSE.classes)
    assert not notes
    decided = labels_from(scores, np.array([thresholds[name] for name in ODIR_COURSE.classes]))
    for c in range(3):
        precision, recall, _ = precision_recall_curve(targets[:, c], scores[:, c])
        best = np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12))
        assert f1_score(targets[:, c], decided[:, c]) == pytest.approx(best)
        assert f1_score(targets[:, c], scores[:, c] >= 0.5) <= best + 1e-12


def test_one_half_stays_where_nothing_is_gained_and_where_a_label_is_rare() -> None:
    scores = np.repeat([[0.1, 0.1], [0.9, 0.9]], 10, axis=0)
    targets = (scores > 0.5).astype(np.int64)
    targets[:, 1] = 0
    targets[0, 1] = 1
    thresholds, notes = choose_label_thresholds(scores, targets, ("D", "G"))
    assert thresholds == {"D": 0.5, "G": 0.5}
    assert notes == [
        "G: the threshold stays at 0.5, since fewer than 5 validation photographs have the label, or lack it"
    ]


def test_they_are_fitted_beside_the_temperature_and_told_apart_by_name() -> None:
    scores, targets = drawn()
    names = [str(i) for i in range(len(scores))]
    predictions = Predictions(ODIR_COURSE, names, names, names, targets, scores, "threshold")
    calibration, _ = fit_calibration(predictions)
    assert calibration is not None
    stored = stored_thresholds(calibration, ("A", "G", "D"), "threshold")
    assert stored.tolist() == [calibration["thresholds"][name] for name in "AGD"]
    assert stored[1] < 0.5  # the label whose scores lie low


@pytest.mark.parametrize(
    ("calibration", "labels", "rule", "reason"),
    [
        (None, ("D",), "threshold", "the model does not keep"),
        ({"temperature": 1.0}, ("D",), "threshold", "the model does not keep"),
        ({"thresholds": {"D": 0.4}}, ("D", "G"), "threshold", "thresholds of the labels D, but its task has D, G"),
        ({"thresholds": {"D": 0.4}}, ("D",), "median", "several labels at once"),
    ],
)
def test_thresholds_of_something_else_are_refused(calibration, labels, rule, reason) -> None:
    with pytest.raises(UserError, match=reason):
        stored_thresholds(calibration, labels, rule)
