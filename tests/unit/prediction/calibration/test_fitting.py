"""Calibration from validation predictions, and what it does to other photographs."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, recall_score

from retinai.metrics.decisions import decide
from retinai.prediction.calibration.fitting import MINIMUM, calibration_results, fit_calibration
from retinai.prediction.calibration.temperature import scale
from retinai.prediction.metrics import compute_metrics
from retinai.prediction.predictions import Predictions, concatenate
from retinai.tasks.known import DME_RISK, DR_GRADE, ODIR_COURSE


def overconfident(n: int, rule: str = "argmax", seed: int = 0, task=DR_GRADE) -> Predictions:
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet(np.full(task.num_classes, 0.5), n)
    targets = np.array([rng.choice(task.num_classes, p=p) for p in honest])
    ids = [f"{i:03}" for i in range(n)]
    return Predictions(task, ids, ids, [i[:2] for i in ids], targets, scale(honest, 0.4, task.scalings[rule]), rule)


def labels(n: int) -> Predictions:
    rng = np.random.default_rng(0)
    honest = rng.random((n, 3))
    targets = (rng.random((n, 3)) < honest).astype(int)
    ids = [str(i) for i in range(n)]
    return Predictions(ODIR_COURSE, ids, ids, ids, targets, scale(honest, 0.4, "sigmoid"), "threshold")


def test_an_overconfident_model_is_softened_and_the_file_holds_plain_values() -> None:
    calibration, notes = fit_calibration(overconfident(400))
    assert calibration is not None and notes == []
    assert calibration["temperature"] == pytest.approx(2.5, rel=0.15)  # 1 / 0.4
    assert json.loads(json.dumps(calibration)) == calibration
    assert calibration["scaling"] == "softmax" and calibration["n"] == 400
    for key in ("nll", "calibration_error"):
        assert calibration[key]["after"] < calibration[key]["before"]
    bounded = "sensitivity_90_bound"
    assert set(calibration["operating_points"]) == {"sensitivity_90", "specificity_90", "youden", bounded}
    assert calibration["operating_points"][bounded]["lower"] >= 0.9 and calibration["sets"]["n"] == 400
    assert calibration["operating_points"]["sensitivity_90"]["sensitivity"] >= 0.9


def test_results_on_other_photographs_agree_with_scikit_learn() -> None:
    calibration, _ = fit_calibration(overconfident(400))
    assert calibration is not None
    test = overconfident(150, seed=1)
    results = calibration_results(test, calibration, resamples=200)
    soft = scale(test.probabilities, calibration["temperature"], "softmax")
    for when, p in (("before", test.probabilities), ("after", soft)):
        assert results["nll"][when]["value"] == pytest.approx(log_loss(test.targets, p, labels=range(5)), rel=1e-3)
    assert results["nll"]["after"]["high"] < results["nll"]["before"]["low"]
    whole = compute_metrics(test.calibrated(calibration), resamples=200)
    assert results["calibration_error"]["after"] == whole["calibration_error"]
    assert results["calibration_error"]["before"] == compute_metrics(test, resamples=200)["calibration_error"]
    for name, point in calibration["operating_points"].items():
        ill, referred = test.labelled >= 2, soft[:, 2:].sum(axis=1) >= point["threshold"]
        here = results["operating_points"][name]
        assert here["sensitivity"]["value"] == pytest.approx(recall_score(ill, referred))
        assert here["specificity"]["value"] == pytest.approx(recall_score(~ill, ~referred))
        assert here["sensitivity"]["low"] <= here["sensitivity"]["value"] <= here["sensitivity"]["high"]
        assert here["validation"] == {key: point[key] for key in ("sensitivity", "specificity", "n")}


@pytest.mark.parametrize("rule", ["argmax", "median"])
def test_decisions_are_those_of_the_scaled_probabilities_too_also_from_a_file(rule: str) -> None:
    before = overconfident(300, rule)
    after = before.calibrated({"temperature": 2.5, "scaling": DR_GRADE.scalings[rule]})
    assert after.decisions.tolist() == before.decisions.tolist()
    assert decide(after.probabilities, rule).tolist() == before.decisions.tolist()
    if rule == "median":  # scaled as if grades were in no order, which moves medians
        unordered = before.calibrated({"temperature": 2.5, "scaling": "softmax"})
        assert unordered.decisions.tolist() == before.decisions.tolist()
        assert decide(unordered.probabilities, rule).tolist() != before.decisions.tolist()
    text = after.to_frame().to_csv(index=False)
    again = Predictions.from_frame(pd.read_csv(io.StringIO(text), dtype={"id": str}), DR_GRADE, rule)
    assert again.decisions.tolist() == before.decisions.tolist()
    np.testing.assert_allclose(again.probabilities, after.probabilities)
    both = concatenate([again.take([3, 1]), after.take([2])])
    assert both.decisions.tolist() == before.decisions[[3, 1, 2]].tolist()
    for key in ("qwk", "accuracy", "macro_f1"):
        assert compute_metrics(before, 0)[key] == compute_metrics(after, 0)[key]


def test_labels_are_scaled_one_by_one_and_have_no_referral() -> None:
    before = labels(300)
    calibration, _ = fit_calibration(before)
    assert calibration is not None and calibration["temperature"] == pytest.approx(2.5, rel=0.2)
    assert calibration["operating_points"] == {}
    assert before.calibrated(calibration).decisions.tolist() == before.decisions.tolist()
    results = calibration_results(before, calibration, resamples=50)
    assert results["nll"]["after"]["value"] < results["nll"]["before"]["value"]
    after = compute_metrics(before.calibrated(calibration), resamples=50)
    assert results["calibration_error"]["after"]["value"] == pytest.approx(after["calibration_error"]["value"])


def test_too_little_is_told_and_not_fitted() -> None:
    calibration, notes = fit_calibration(overconfident(MINIMUM - 1))
    assert calibration is None and "19 photographs" in notes[0] and "\n" not in notes[0]
    some = overconfident(200)
    one_class = some.take(np.flatnonzero(some.labelled == 3))
    assert len(one_class) >= MINIMUM
    calibration, notes = fit_calibration(one_class)
    assert calibration is None and "one class" in notes[0]
    # Two classes on one side of the border: a temperature, but no operating point.
    healthy = some.take(np.flatnonzero(some.labelled < 2))
    calibration, notes = fit_calibration(healthy)
    assert calibration is not None and calibration["operating_points"] == {} and "no referable one" in notes[0]
    calibration, notes = fit_calibration(overconfident(60, task=DME_RISK))
    assert calibration is not None and calibration["operating_points"] == {} and notes == []


def test_a_temperature_at_the_end_of_its_range_is_told() -> None:
    some = overconfident(100)
    surely_right = Predictions(some.task, some.ids, some.paths, some.patients, some.targets,
                               0.9 * np.eye(5)[some.labelled] + 0.02, "argmax")  # fmt: skip
    calibration, notes = fit_calibration(surely_right)
    assert calibration is not None and calibration["temperature"] == pytest.approx(0.1, abs=0.01)
    assert "end of its range" in notes[0]
