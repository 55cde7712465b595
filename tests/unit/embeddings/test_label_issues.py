"""Suspicious labels: a hand calculation, planted errors, and photographs beside their nearest."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from retinai.embeddings.estimators import ProbeSettings
from retinai.embeddings.label_issues import find_suspicious, held_out_probabilities, suspicion_table
from retinai.embeddings.neighbours import nearest
from retinai.tasks.binary import BinaryTask


def test_confident_learning_by_hand() -> None:
    targets = np.array([0, 0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.25, 0.75], [0.3, 0.7], [0.45, 0.55]])
    # Means of the own class: 0.65 and 0.625. The third exceeds the one of class 1; the fifth exceeds none.
    (found,) = find_suspicious(targets, probabilities)
    assert (found.row, found.suggested) == (2, 1)
    assert (found.confidence, found.margin) == (pytest.approx(0.25), pytest.approx(-0.5))
    table = suspicion_table([found], list("abcde"), list("ABCDE"), targets, BinaryTask("x", ("no", "yes")))
    assert table.to_dict("records") == [
        {"id": "c", "path": "C", "label": "no", "suggested": "yes", "confidence": 0.25, "margin": -0.5}
    ]


def test_planted_errors_are_found_by_probes_that_did_not_see_them() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 60)
    features = rng.normal(truth[:, None] * 2.0, 1.0, (120, 6)).astype(np.float32)
    wrong = [5, 30, 70, 100]
    labels = truth.copy()
    labels[wrong] = 1 - labels[wrong]
    patients = [f"p{row // 2}" for row in range(120)]
    probabilities = held_out_probabilities(features, labels, patients, 2, ProbeSettings())
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    found = [suspicion.row for suspicion in find_suspicious(labels, probabilities)]
    assert set(wrong) <= set(found[:6])


def test_nearest_are_those_of_the_cosine() -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    vectors[7] = vectors[3]  # equal ones: neither is its own neighbour
    rows, similar = nearest(vectors, 4)
    table = cosine_similarity(vectors)
    np.fill_diagonal(table, -2)
    np.testing.assert_allclose(similar, -np.sort(-table, axis=1)[:, :4], atol=1e-6)
    assert rows[3, 0] == 7 and rows[7, 0] == 3 and not (rows == np.arange(30)[:, None]).any()
