"""Metrics against scikit-learn and torchmetrics, their intervals against explicitly drawn resamples."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from retinai.errors import DataError
from retinai.metrics.bootstrap import bootstrap_weights, interval
from retinai.prediction.metrics import compute_metrics, measure
from retinai.prediction.predictions import Predictions
from retinai.tasks.known import DME_RISK, DR_GRADE, ODIR_8

CLOSE = {"rel": 1e-9, "abs": 1e-9}


def graded(n: int = 240, seed: int = 0, ties: bool = True, task=DR_GRADE, rule: str = "argmax") -> Predictions:
    """Predictions better than chance; rounded probabilities make many ties."""
    rng = np.random.default_rng(seed)
    c = task.num_classes
    targets = rng.choice(c, n, p=np.linspace(3, 1, c) / np.linspace(3, 1, c).sum())
    logits = rng.normal(0, 1.2, (n, c)) - 0.5 * np.abs(np.arange(c) - targets[:, None])
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    if ties:
        p = np.round(p, 1)
        p[np.arange(n), p.argmax(axis=1)] += 1 - p.sum(axis=1)
    ids = [f"eye{i}" for i in range(n)]
    return Predictions(task, ids, ids, [f"patient{i // 2}" for i in range(n)], targets, p, rule)


def labelled(n: int = 200, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 8)) < np.linspace(0.1, 0.5, 8)).astype(int)
    p = np.round(np.clip(rng.normal(0.35 + 0.25 * targets, 0.25), 0, 1), 2)
    ids = [f"eye{i}" for i in range(n)]
    return Predictions(ODIR_8, ids, ids, [f"patient{i // 2}" for i in range(n)], targets, p, "threshold")


def sklearn_grade(targets: np.ndarray, decisions: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """The same metrics by scikit-learn; classes that do not occur are left out of the means over classes."""
    present = np.unique(targets)
    referable = targets >= 2
    return {
        "accuracy": sk.accuracy_score(targets, decisions),
        "balanced_accuracy": sk.recall_score(targets, decisions, labels=present, average="macro"),
        "qwk": sk.cohen_kappa_score(targets, decisions, weights="quadratic"),
        "macro_f1": sk.f1_score(targets, decisions, average="macro"),
        "weighted_f1": sk.f1_score(targets, decisions, average="weighted"),
        "auroc": np.mean([sk.roc_auc_score(targets == k, p[:, k]) for k in present]),
        "auprc": np.mean([sk.average_precision_score(targets == k, p[:, k]) for k in present]),
        "referable_sensitivity": sk.recall_score(referable, decisions >= 2),
        "referable_specificity": sk.recall_score(~referable, decisions < 2),
        "referable_auroc": sk.roc_auc_score(referable, p[:, 2:].sum(axis=1)),
    }


def sklearn_labels(targets: np.ndarray, p: np.ndarray) -> dict[str, float]:
    decisions = (p >= 0.5).astype(int)
    flat, said = targets.ravel(), decisions.ravel()
    kappa, f1 = sk.cohen_kappa_score(flat, said), sk.f1_score(flat, said, average="micro")
    auc = sk.roc_auc_score(flat, p.ravel())
    return {
        "accuracy": sk.accuracy_score(targets, decisions),
        "balanced_accuracy": np.mean(
            [sk.balanced_accuracy_score(t, d) for t, d in zip(targets.T, decisions.T, strict=True)]
        ),
        "macro_f1": sk.f1_score(targets, decisions, average="macro"),
        "micro_f1": sk.f1_score(targets, decisions, average="micro"),
        "weighted_f1": sk.f1_score(targets, decisions, average="weighted"),
        "auroc": sk.roc_auc_score(targets, p, average="macro"),
        "auprc": sk.average_precision_score(targets, p, average="macro"),
        "odir_kappa": kappa,
        "odir_f1": f1,
        "odir_auc": auc,
        "odir_final": (kappa + f1 + auc) / 3,
    }


@pytest.mark.parametrize("rule", ["argmax", "median"])
@pytest.mark.parametrize("ties", [True, False])
def test_grade_values_are_those_of_scikit_learn(rule: str, ties: bool) -> None:
    predictions = graded(ties=ties, rule=rule)
    found = compute_metrics(predictions, resamples=0)
    targets, decisions, p = predictions.targets, predictions.decisions, predictions.probabilities
    for name, value in sklearn_grade(targets, decisions, p).items():
        assert found[name] == {"value": pytest.approx(value, **CLOSE), "low": None, "high": None}, name
    assert found["balanced_accuracy"]["value"] == pytest.approx(sk.balanced_accuracy_score(targets, decisions))
    if not ties:
        assert found["auroc"]["value"] == pytest.approx(sk.roc_auc_score(targets, p, multi_class="ovr"))
    precision, recall, f1, support = sk.precision_recall_fscore_support(targets, decisions)
    for k, name in enumerate(DR_GRADE.classes):
        row = found["per_class"][name]
        assert row["precision"]["value"] == pytest.approx(precision[k], **CLOSE)
        assert row["recall"]["value"] == pytest.approx(recall[k], **CLOSE)
        assert row["f1"]["value"] == pytest.approx(f1[k], **CLOSE)
        assert row["support"] == support[k]
    assert found["confusion_matrix"] == sk.confusion_matrix(targets, decisions).tolist()


def test_grade_resamples_are_those_of_scikit_learn_on_drawn_arrays() -> None:
    predictions = graded(n=60, seed=1)
    weights = bootstrap_weights(predictions.patients, 12, seed=3)
    found = measure(predictions, weights)
    for row in range(len(weights)):
        drawn = np.repeat(np.arange(60), weights[row].astype(int))
        take = predictions.take(drawn)
        for name, value in sklearn_grade(take.targets, take.decisions, take.probabilities).items():
            assert found[name][row] == pytest.approx(value, **CLOSE), (name, row)


def test_multilabel_values_and_resamples_are_those_of_scikit_learn() -> None:
    predictions = labelled()
    weights = bootstrap_weights(predictions.patients, 6, seed=0)
    found = measure(predictions, weights)
    for row in range(len(weights)):
        drawn = np.repeat(np.arange(len(predictions)), weights[row].astype(int))
        expected = sklearn_labels(predictions.targets[drawn], predictions.probabilities[drawn])
        for name, value in expected.items():
            assert found[name][row] == pytest.approx(value, **CLOSE), (name, row)
    metrics = compute_metrics(predictions, resamples=0)
    decisions = predictions.decisions
    precision, recall, f1, support = sk.precision_recall_fscore_support(predictions.targets, decisions)
    for k, name in enumerate(ODIR_8.classes):
        per_class = metrics["per_class"][name]
        assert per_class["precision"]["value"] == pytest.approx(precision[k], **CLOSE)
        assert per_class["recall"]["value"] == pytest.approx(recall[k], **CLOSE)
        assert per_class["f1"]["value"] == pytest.approx(f1[k], **CLOSE)
        assert per_class["support"] == support[k]
        expected = sk.confusion_matrix(predictions.targets[:, k], decisions[:, k]).tolist()
        assert metrics["confusion_matrix"][name] == expected


def test_calibration_error_is_that_of_torchmetrics() -> None:
    predictions = graded(ties=False)
    expected = multiclass_calibration_error(
        torch.tensor(predictions.probabilities), torch.tensor(predictions.targets), 5, n_bins=15, norm="l1"
    )
    found = compute_metrics(predictions, resamples=0)["calibration_error"]["value"]
    assert found == pytest.approx(float(expected), abs=1e-6)
    several = labelled()
    p = several.probabilities * 0.998 + 0.001  # away from the edges of bins
    shifted = Predictions(ODIR_8, several.ids, several.paths, several.patients, several.targets, p, "threshold")
    expected_labels = [
        float(binary_calibration_error(torch.tensor(p[:, k]), torch.tensor(several.targets[:, k]), n_bins=15))
        for k in range(8)
    ]
    found = compute_metrics(shifted, resamples=0)["calibration_error"]["value"]
    assert found == pytest.approx(np.mean(expected_labels), abs=1e-6)


def test_patients_are_drawn_whole_and_the_draw_is_seeded() -> None:
    patients = ["b", "a", "b", "c", "a", "b"]
    weights = bootstrap_weights(patients, 50, seed=7)
    assert (weights[0] == 1).all()
    assert (weights[:, [0]] == weights[:, [2, 5]]).all() and (weights[:, 1] == weights[:, 4]).all()
    # Three patients are drawn each time.
    assert (weights[1:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert np.array_equal(weights, bootstrap_weights(patients, 50, seed=7))
    assert not np.array_equal(weights, bootstrap_weights(patients, 50, seed=8))


def test_clusters_widen_the_interval() -> None:
    single = graded(n=120)
    fourfold = single.take(np.tile(np.arange(120), 4))
    alone = Predictions(
        DR_GRADE, fourfold.ids, fourfold.paths, [str(i) for i in range(480)], fourfold.targets,
        fourfold.probabilities, "argmax",
    )  # fmt: skip

    def width(predictions: Predictions) -> float:
        metric = compute_metrics(predictions, resamples=400)["accuracy"]
        return metric["high"] - metric["low"]

    assert width(fourfold) == pytest.approx(width(single), rel=0.05)
    assert width(alone) < 0.65 * width(fourfold)


def test_interval_is_the_percentile_one_and_skips_undefined_resamples() -> None:
    draws = np.r_[0.5, np.arange(101) / 100]
    assert interval(draws) == {"value": 0.5, "low": pytest.approx(0.025), "high": pytest.approx(0.975)}
    assert interval(np.r_[draws, [np.nan] * 50]) == interval(draws)
    assert interval(np.r_[draws, [np.nan] * 150]) == {"value": 0.5, "low": None, "high": None}
    assert interval(np.r_[np.nan, draws]) == {"value": None, "low": None, "high": None}


def test_what_is_undefined_is_null_and_json_takes_it() -> None:
    targets = np.array([0, 0, 2, 2, 2])
    p = np.eye(5)[[0, 2, 2, 2, 0]]
    ids = list("abcde")
    metrics = compute_metrics(Predictions(DR_GRADE, ids, ids, ids, targets, p, "argmax"), resamples=200)
    absent = metrics["per_class"]["proliferative"]
    assert absent["support"] == 0
    assert all(absent[k]["value"] is None for k in ("precision", "recall", "f1", "auroc", "auprc"))
    assert metrics["balanced_accuracy"]["value"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    json.dumps(metrics, allow_nan=False)
    one_class = Predictions(DR_GRADE, ids, ids, ids, np.zeros(5, int), np.eye(5)[[0] * 5], "argmax")
    found = compute_metrics(one_class, resamples=20)
    assert found["qwk"]["value"] is None and found["auroc"]["value"] is None
    assert found["referable_sensitivity"]["value"] is None and found["referable_specificity"]["value"] == 1


def test_a_task_without_a_referral_border_has_no_referable_metrics() -> None:
    metrics = compute_metrics(graded(task=DME_RISK, ties=False), resamples=0)
    assert not [key for key in metrics if key.startswith("referable")]


def test_unlabelled_and_empty_predictions_are_refused() -> None:
    whole = graded(n=6)
    unlabelled = Predictions(DR_GRADE, whole.ids, whole.paths, whole.patients, None, whole.probabilities, "argmax")
    with pytest.raises(DataError, match="no labels"):
        compute_metrics(unlabelled)
    with pytest.raises(DataError, match="no photographs"):
        compute_metrics(whole.take([]))


def test_the_interval_holds_its_value() -> None:
    metrics = compute_metrics(graded(n=550))
    assert metrics["resamples"] == 1000 and metrics["patients"] == 275
    for name in ("accuracy", "qwk", "macro_f1", "auroc", "auprc"):
        assert metrics[name]["low"] < metrics[name]["value"] < metrics[name]["high"], name
