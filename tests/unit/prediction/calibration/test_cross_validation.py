"""A temperature is kept where it helps photographs that it was not fitted on, and only there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from retinai.prediction.calibration.cross_validation import FOLDS, cross_validated_gain
from retinai.prediction.calibration.fitting import fit_calibration
from retinai.prediction.calibration.temperature import negative_log_likelihood, scale
from retinai.prediction.predictions import Predictions
from retinai.tasks.known import DR_GRADE


def predicted(n: int, sharpness: float, seed: int = 0, photographs_each: int = 1) -> Predictions:
    """Predictions that come true as often as they say, made sharper by a factor."""
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet(np.full(5, 0.5), n)
    targets = np.array([rng.choice(5, p=p) for p in honest])
    ids = [f"{i:04}" for i in range(n)]
    patients = [f"{i // photographs_each:04}" for i in range(n)]
    return Predictions(DR_GRADE, ids, ids, patients, targets, scale(honest, 1 / sharpness, "softmax"), "argmax")


def test_the_gain_is_that_of_a_loop_by_hand() -> None:
    given = predicted(120, 2.0, photographs_each=2)
    logits, targets = np.log(given.probabilities), given.labelled
    places = {name: i for i, name in enumerate(sorted(set(given.patients)))}
    dealt = np.random.default_rng(0).permutation(len(places)) % FOLDS
    folds = np.array([dealt[places[name]] for name in given.patients])

    def loss(rows: np.ndarray, temperature: float) -> np.ndarray:
        return -log_softmax(logits[rows] / temperature, axis=1)[np.arange(rows.sum()), targets[rows]]

    gains = np.zeros(len(targets))
    for fold in range(FOLDS):
        own, others = folds == fold, folds != fold
        best = minimize_scalar(lambda t, rows=others: loss(rows, t).mean(), bounds=(0.1, 10), method="bounded").x
        gains[own] = loss(own, 1) - loss(own, best)
    found = cross_validated_gain(given)
    assert found["gain"] == pytest.approx(gains.mean(), abs=1e-4)
    of_patients = gains.reshape(-1, 2).mean(axis=1)  # equal numbers: the mean of the patients' means
    assert found["error"] == pytest.approx(of_patients.std(ddof=1) / np.sqrt(len(of_patients)), rel=1e-3)
    assert found["folds"] == FOLDS and found["shown"]


def test_honest_probabilities_are_left_as_they_are() -> None:
    given = predicted(44, 1.0, seed=3)
    calibration, notes = fit_calibration(given)
    assert calibration is not None and calibration["temperature"] == 1.0
    checked = calibration["cross_validation"]
    assert checked["fitted"] != 1 and not checked["shown"] and checked["gain"] <= checked["error"]
    assert "stays at 1" in notes[0] and "44 validation photographs" in notes[0]
    assert calibration["nll"]["before"] == calibration["nll"]["after"]
    assert json.loads(json.dumps(calibration)) == calibration
    np.testing.assert_array_equal(given.calibrated(calibration).probabilities, given.probabilities)


def test_on_few_photographs_the_rule_does_less_harm_than_fitting_always() -> None:
    """On honest probabilities every temperature but 1 is a loss; on new photographs it shows."""
    new = predicted(2000, 1.0, seed=1000)
    plain = negative_log_likelihood(new.probabilities, new.labelled, "softmax").mean()
    always, ruled = [], []
    for seed in range(30):
        calibration, _ = fit_calibration(predicted(44, 1.0, seed))
        assert calibration is not None
        for harm, temperature in (
            (always, calibration["cross_validation"]["fitted"]),
            (ruled, calibration["temperature"]),
        ):
            loss = negative_log_likelihood(new.probabilities, new.labelled, "softmax", temperature).mean()
            harm.append(loss - plain)
    assert sum(harm == 0 for harm in ruled) >= 20
    assert np.mean(ruled) < 0.8 * np.mean(always)


def test_a_single_patient_shows_nothing() -> None:
    calibration, notes = fit_calibration(predicted(40, 3.0, photographs_each=40))
    assert calibration is not None and calibration["temperature"] == 1.0
    assert calibration["cross_validation"]["gain"] is None and "of one patient" in notes[0]
