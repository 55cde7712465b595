"""Paired differences of two models on the same photographs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score

from retinai.errors import DataError
from retinai.prediction.metrics import compute_metrics
from retinai.prediction.paired import paired_differences
from retinai.prediction.predictions import Predictions
from retinai.tasks.known import DR_GRADE


def predictions(noise: float, n: int = 120) -> Predictions:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 5, n)
    shared = rng.normal(size=(n, 5))  # what makes a photograph hard for any model
    logits = 2.5 * np.eye(5)[targets] + shared + np.random.default_rng(int(noise * 100)).normal(size=(n, 5)) * noise
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = [f"p{i}" for i in range(n)]
    return Predictions(DR_GRADE, names, names, [f"patient{i // 2}" for i in range(n)], targets, probabilities, "argmax")


def shuffled(p: Predictions, seed: int) -> Predictions:
    order = np.random.default_rng(seed).permutation(len(p))
    assert p.targets is not None
    return Predictions(
        p.task, [p.ids[i] for i in order], [p.paths[i] for i in order], [p.patients[i] for i in order],
        p.targets[order], p.probabilities[order], p.decision_rule,
    )  # fmt: skip


def test_values_are_scikit_learns_and_the_order_does_not_matter() -> None:
    a, b = predictions(0.1), predictions(1.2)
    differences = paired_differences(a, b, resamples=200)
    kappas = [cohen_kappa_score(p.targets, p.decisions, weights="quadratic") for p in (a, b)]
    assert differences["qwk"]["value"] == pytest.approx(kappas[0] - kappas[1])
    accuracies = [accuracy_score(p.targets, p.decisions) for p in (a, b)]
    assert differences["accuracy"]["value"] == pytest.approx(accuracies[0] - accuracies[1])
    again = paired_differences(shuffled(a, 3), shuffled(b, 4), resamples=200)
    assert again["qwk"] == pytest.approx(differences["qwk"])


def test_pairing_narrows_the_interval_and_equal_models_have_none() -> None:
    a, b = predictions(0.1), predictions(0.3)
    together = paired_differences(a, b, resamples=400)["accuracy"]
    alone = [compute_metrics(p, resamples=400)["accuracy"] for p in (a, b)]
    unpaired = np.hypot(*((m["high"] - m["low"]) for m in alone))
    assert together["high"] - together["low"] < 0.7 * unpaired
    assert paired_differences(a, shuffled(a, 5), resamples=50)["qwk"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_the_interval_is_that_of_a_bootstrap_written_out() -> None:
    a, b = predictions(0.1), predictions(1.2)
    together = paired_differences(a, b, resamples=2000)["accuracy"]
    gain = ((a.decisions == a.targets).astype(float) - (b.decisions == b.targets)).reshape(-1, 2).mean(1)
    rng = np.random.default_rng(7)
    drawn = gain[rng.integers(0, len(gain), (4000, len(gain)))].mean(1)
    assert [together["low"], together["high"]] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.02)


def test_other_photographs_and_labels_are_refused() -> None:
    a = predictions(0.1)
    other = dataclasses.replace(a, ids=["x", *a.ids[1:]])
    with pytest.raises(DataError, match="2 are on one side"):
        paired_differences(a, other)
    assert a.targets is not None
    with pytest.raises(DataError, match="same labels"):
        paired_differences(a, dataclasses.replace(a, targets=(a.targets + 1) % 5))
