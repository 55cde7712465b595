"""Predictions: decisions, the way through CSV, pooling."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import torch
from coral_pytorch.dataset import proba_to_label

from retinai.errors import DataError
from retinai.metrics.decisions import decide
from retinai.prediction.predictions import Predictions, concatenate
from retinai.tasks.known import DME_RISK, DR_GRADE, ODIR_COURSE


def make(targets: list[int] | None = None, n: int = 4) -> Predictions:
    p = np.random.default_rng(0).dirichlet(np.ones(5), n)
    ids = [f"0{i}" for i in range(n)]
    found = None if targets is None else np.array(targets)
    return Predictions(DR_GRADE, ids, [f"{i}.png" for i in ids], ["p1"] * n, found, p, "argmax")


def labels(targets: list[tuple[int, ...]] | None) -> Predictions:
    p = np.array([[0.9, 0.49, 0.5], [0.1, 0.2, 0.3], [0.6, 0.7, 0.8]])
    found = None if targets is None else np.array(targets)
    return Predictions(ODIR_COURSE, list("abc"), list("abc"), list("abc"), found, p, "threshold")


def through_csv(predictions: Predictions) -> Predictions:
    text = predictions.to_frame().to_csv(index=False)
    frame = pd.read_csv(io.StringIO(text), dtype={"id": str, "patient": str})
    return Predictions.from_frame(frame, predictions.task, predictions.decision_rule)


def test_decisions_by_hand() -> None:
    p = np.array([[0.4, 0.05, 0.05, 0.2, 0.3], [0.1, 0.2, 0.4, 0.2, 0.1], [0.0, 0.0, 0.0, 0.0, 1.0]])
    assert decide(p, "argmax").tolist() == [0, 2, 4]
    assert decide(p, "median").tolist() == [2, 2, 4]
    assert decide(np.array([[0.5, 0.51, 0.49]]), "threshold").tolist() == [[1, 1, 0]]


def test_the_median_is_the_rule_of_coral() -> None:
    exceed = np.sort(np.random.default_rng(1).random((50, 4)))[:, ::-1]  # P(grade > k)
    full = np.c_[np.ones(50), exceed, np.zeros(50)]
    probabilities = full[:, :-1] - full[:, 1:]
    expected = proba_to_label(torch.tensor(exceed.copy())).numpy()
    assert decide(probabilities, "median").tolist() == expected.tolist()


@pytest.mark.parametrize("targets", [[0, 4, 2, 2], None])
def test_grades_come_back_from_csv(targets: list[int] | None) -> None:
    before = make(targets)
    frame = before.to_frame()
    assert list(frame.columns) == [
        "id",
        "path",
        "target",
        "prediction",
        *(f"p_{c}" for c in DR_GRADE.classes),
        "patient",
    ]
    after = through_csv(before)
    assert after.ids == before.ids and after.paths == before.paths and after.patients == before.patients
    assert np.array_equal(after.probabilities, before.probabilities)
    assert (after.targets is None) if targets is None else after.labelled.tolist() == targets


@pytest.mark.parametrize("targets", [[(1, 0, 1), (0, 0, 0), (0, 1, 0)], None])
def test_labels_come_back_from_csv(targets: list[tuple[int, ...]] | None) -> None:
    before = labels(targets)
    assert before.to_frame()["prediction"].tolist() == ["D|A", "", "D|G|A"]
    after = through_csv(before)
    assert (after.targets is None) if targets is None else np.array_equal(after.labelled, before.labelled)
    assert np.array_equal(after.decisions, before.decisions)


def test_wrong_tables_are_refused() -> None:
    frame = make([0, 1, 2, 3]).to_frame()
    with pytest.raises(DataError, match="p_mild"):
        Predictions.from_frame(frame.drop(columns="p_mild"), DR_GRADE, "argmax")
    with pytest.raises(DataError, match="classes from 0 to 4"):
        Predictions.from_frame(frame.assign(target=7), DR_GRADE, "argmax")
    with pytest.raises(DataError, match="'X'"):
        Predictions.from_frame(labels(None).to_frame().assign(target="D|X"), ODIR_COURSE, "threshold")


def test_shapes_and_numbers_are_checked() -> None:
    good = make([0, 1, 2, 3])
    with pytest.raises(ValueError, match="shape"):
        Predictions(DME_RISK, good.ids, good.paths, good.patients, good.targets, good.probabilities, "argmax")
    with pytest.raises(ValueError, match="decision rule"):
        Predictions(DR_GRADE, good.ids, good.paths, good.patients, good.targets, good.probabilities, "threshold")
    diverged = good.probabilities.copy()
    diverged[2, 1] = np.nan
    with pytest.raises(DataError, match="02"):
        Predictions(DR_GRADE, good.ids, good.paths, good.patients, good.targets, diverged, "argmax")


def test_pooling_keeps_the_order_and_refuses_mixtures() -> None:
    pooled = concatenate([make([0, 1, 2, 3]), make([4, 4, 4, 4])])
    assert pooled.labelled.tolist() == [0, 1, 2, 3, 4, 4, 4, 4] and len(pooled) == 8
    with pytest.raises(DataError, match="pooled"):
        concatenate([make([0, 1, 2, 3]), labels(None)])
