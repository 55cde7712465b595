"""Tasks of yes or no against scikit-learn, and predictive values by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from retinai.config.record_schemas import TaskRecord, check_record
from retinai.errors import UserError
from retinai.metrics.binary import predictive_values
from retinai.prediction.metrics import compute_metrics
from retinai.prediction.predictions import Predictions
from retinai.tasks.binary import BinaryTask
from retinai.tasks.known import DR_GRADE, ODIR_COURSE
from retinai.tasks.task import Task

TASK = BinaryTask("sick", ("well", "sick"), prevalence=0.1)


def predictions(n: int = 80) -> Predictions:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, n)
    p = np.clip(rng.normal(0.4 + 0.2 * targets, 0.2), 0.01, 0.99).round(2)
    names = [f"s{i}" for i in range(n)]
    return Predictions(TASK, names, names, names, targets, np.stack([1 - p, p], axis=1), "argmax")


def test_metrics_are_scikit_learns() -> None:
    given = predictions()
    found = compute_metrics(given, resamples=20)
    targets, decided, score = given.labelled, given.decisions, given.probabilities[:, 1]
    expected = {
        "auroc": sk.roc_auc_score(targets, score),
        "auprc": sk.average_precision_score(targets, score),
        "sensitivity": sk.recall_score(targets, decided),
        "specificity": sk.recall_score(targets, decided, pos_label=0),
        "ppv": sk.precision_score(targets, decided),
        "npv": sk.precision_score(targets, decided, pos_label=0),
        "f1": sk.f1_score(targets, decided),
        "accuracy": sk.accuracy_score(targets, decided),
        "balanced_accuracy": sk.balanced_accuracy_score(targets, decided),
    }
    assert {key: found[key]["value"] for key in expected} == pytest.approx(expected)
    # At the prevalence of the photographs themselves Bayes gives what was counted.
    here = predictive_values(*(np.array([expected[key]]) for key in ("sensitivity", "specificity")), targets.mean())
    np.testing.assert_allclose(np.concatenate(here), [expected["ppv"], expected["npv"]])


def test_predictive_values_by_hand() -> None:
    # Of 1000 people 100 are sick: 90 are found, and of the 900 healthy 180 are called sick too.
    ppv, npv = predictive_values(np.array([0.9]), np.array([0.8]), 0.1)
    assert ppv[0] == pytest.approx(90 / 270) and npv[0] == pytest.approx(720 / 730)


def test_it_travels_as_plain_values_and_refuses_nonsense() -> None:
    check_record(TaskRecord, TASK.to_dict())
    again = Task.from_dict(TASK.to_dict())
    assert again == TASK and again.to_dict() == TASK.to_dict() and again == BinaryTask("sick", ("well", "sick"))
    for options in ({"classes": ("a", "b", "c")}, {"prevalence": 1.0}, {"referable_from": 1}):
        with pytest.raises(UserError, match="task 'sick'"):
            BinaryTask(**({"name": "sick", "classes": ("well", "sick")} | options))


def test_questions_that_other_targets_answer() -> None:
    asked = {question.name: question for question in DR_GRADE.questions()}
    assert list(asked) == ["grade", "any_dr", "referable", "grade_0", "grade_1", "grade_2", "grade_3", "grade_4"]
    assert [asked["referable"].answer(g) for g in range(5)] == [0, 0, 1, 1, 1]
    assert [asked["any_dr"].answer(g) for g in range(5)] == [0, 1, 1, 1, 1]
    assert [asked["grade_3"].answer(g) for g in range(5)] == [0, 0, 0, 1, 0]
    assert [q.answer((1, 0, 1)) for q in ODIR_COURSE.questions()] == [1, 0, 1]
