"""Patients from photographs: pooling by hand, one eye as today, and the order of the eyes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score

from retinai.prediction.metrics import compute_metrics
from retinai.prediction.patients import POOLINGS, agreement_of_eyes, by_patient
from retinai.prediction.predictions import Predictions
from retinai.tasks.known import DR_GRADE, ODIR_8
from retinai.tasks.task import Task


def drawn(task: Task, patients: list[str], seed: int = 0) -> Predictions:
    rng, n = np.random.default_rng(seed), len(patients)
    names = [str(i) for i in range(n)]
    if task is ODIR_8:
        targets = (rng.random((n, 8)) < 0.3).astype(np.int64)
        targets[:, 0] = targets[:, 1:].sum(axis=1) == 0
        probabilities = np.clip(0.4 * targets + 0.7 * rng.random((n, 8)), 0, 1)
        return Predictions(task, names, names, patients, targets, probabilities, "threshold")
    probabilities = rng.dirichlet([1] * 5, n)
    return Predictions(task, names, names, patients, rng.integers(0, 5, n), probabilities, "argmax")


PAIRS = [f"p{i // 2}" for i in range(60)]


def test_labels_of_both_eyes_by_hand() -> None:
    given = drawn(ODIR_8, ["a", "b", "a"])
    left, right = given.probabilities[0], given.probabilities[2]
    found = {how: by_patient(given, how).probabilities for how in POOLINGS}
    for c in range(1, 8):
        assert found["max"][0, c] == max(left[c], right[c])
        assert found["mean"][0, c] == pytest.approx((left[c] + right[c]) / 2)
        assert found["noisy_or"][0, c] == pytest.approx(1 - (1 - left[c]) * (1 - right[c]))
    assert found["max"][0, 0] == min(left[0], right[0])
    assert found["noisy_or"][0, 0] == pytest.approx(left[0] * right[0])
    pooled = by_patient(given, "max")
    assert pooled.ids == ["a", "b"] and np.array_equal(pooled.probabilities[1], given.probabilities[1])
    assert pooled.labelled[0, 0] == min(given.labelled[0, 0], given.labelled[2, 0])
    assert np.array_equal(pooled.labelled[0, 1:], np.maximum(given.labelled[0], given.labelled[2])[1:])


def test_the_worse_eye_by_enumeration() -> None:
    given = drawn(DR_GRADE, ["a", "a"])
    left, right = given.probabilities
    expected = np.zeros(5)
    for i in range(5):
        for j in range(5):
            expected[max(i, j)] += left[i] * right[j]
    np.testing.assert_allclose(by_patient(given, "noisy_or").probabilities[0], expected, atol=1e-12)
    worse = max((left, right), key=lambda p: float(p @ np.arange(5)))
    assert np.array_equal(by_patient(given, "max").probabilities[0], worse)
    assert by_patient(given, "mean").labelled.tolist() == [max(given.labelled)]


@pytest.mark.parametrize("task", [ODIR_8, DR_GRADE], ids=["labels", "grades"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_one_eye_per_patient_is_today_and_eyes_may_change_places(task: Task, pooling: str) -> None:
    single = drawn(task, [f"p{i}" for i in range(60)])
    pooled = by_patient(single, pooling)
    np.testing.assert_allclose(pooled.probabilities, single.probabilities, atol=1e-12)
    assert np.array_equal(pooled.labelled, single.labelled)
    given = drawn(task, PAIRS)
    swapped = given.take([i ^ 1 for i in range(60)])
    np.testing.assert_allclose(by_patient(swapped, pooling).probabilities, by_patient(given, pooling).probabilities)


def test_odirs_official_score_of_patients_is_scikit_learns() -> None:
    pooled = by_patient(drawn(ODIR_8, PAIRS), "max")
    truth, score = pooled.labelled.ravel(), pooled.probabilities.ravel()
    decided = (score >= 0.5).astype(int)
    expected = (
        cohen_kappa_score(truth, decided) + f1_score(truth, decided, average="micro") + roc_auc_score(truth, score)
    ) / 3
    assert compute_metrics(pooled, resamples=0)["odir_final"]["value"] == pytest.approx(expected)


def test_agreement_counts_patients_with_two_eyes() -> None:
    given = drawn(DR_GRADE, ["a", "a", "b", "b", "c"])
    alike = [given.decisions[0] == given.decisions[1], given.decisions[2] == given.decisions[3]]
    assert agreement_of_eyes(given) == (np.mean(alike), 2)
    assert agreement_of_eyes(given.take([0, 2])) == (None, 0)
