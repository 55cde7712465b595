"""Lesions named against lesions there: scikit-learn and a hand calculation as oracles."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from retinai.lesions.findings import LESION_NAMES, Findings, LesionFinding
from retinai.lesions.metrics import findings_metrics, wilson
from retinai.lesions.report import FINDINGS_HEADER, findings_rows
from retinai.llava.text.words import lesion_words


def found(*present: str, annotated: tuple[str, ...] = LESION_NAMES) -> Findings:
    return Findings(annotated, tuple(LesionFinding(name, 2, 0.01, ("upper left",)) for name in present), "")


def text_of(lesions) -> str:
    return "Grade 2 (moderate). " + " ".join(f"Several {lesion_words(lesion)}." for lesion in lesions)


def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    there = rng.random((number, 4)) < (0.9, 0.6, 0.5, 0.2)
    return np.where(rng.random((number, 4)) < 0.7, there, ~there), there


def names(row: np.ndarray) -> list[str]:
    return [lesion for lesion, flag in zip(LESION_NAMES, row, strict=True) if flag]


def test_against_scikit_learn():
    named, there = draw(60)
    texts, findings = [text_of(names(row)) for row in named], [found(*names(row)) for row in there]
    metrics = findings_metrics([*texts, "Many haemorrhages."], [*findings, None])
    assert metrics["photographs"] == 60 and metrics["unjudged"] == 0
    for place, lesion in enumerate(LESION_NAMES):
        of, truth, said = metrics["lesions"][lesion], there[:, place], named[:, place]
        negative, invented, missed, right = confusion_matrix(truth, said).ravel()
        assert [of[k] for k in ("true_negative", "false_positive", "false_negative", "true_positive")] == [
            negative, invented, missed, right,
        ]  # fmt: skip
        assert of["precision"]["value"] == pytest.approx(precision_score(truth, said))
        assert of["recall"]["value"] == pytest.approx(recall_score(truth, said))
        assert of["invented"]["value"] == pytest.approx(1 - recall_score(~truth, ~said))
        for share in ("precision", "recall", "invented"):
            assert of[share]["low"] <= of[share]["value"] <= of[share]["high"]
    pooled = metrics["all"]
    assert pooled["precision"]["value"] == pytest.approx(precision_score(there, named, average="micro"))
    assert pooled["recall"]["value"] == pytest.approx(recall_score(there, named, average="micro"))
    assert pooled["invented"]["value"] == pytest.approx((named & ~there).sum() / (~there).sum())
    assert pooled["recall"]["low"] < pooled["recall"]["value"] < pooled["recall"]["high"]
    assert metrics["photographs_with_invented"]["value"] == pytest.approx((named & ~there).any(axis=1).mean())
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_by_hand_with_partial_annotation():
    exudates = ("hard_exudates", "soft_exudates")
    metrics = findings_metrics(
        ["Hard exudates. Haemorrhages.", "No soft exudates.", "Soft exudates."],
        [found(lesion, annotated=exudates) for lesion in ("hard_exudates", "soft_exudates", "hard_exudates")],
    )
    hard, soft = metrics["lesions"]["hard_exudates"], metrics["lesions"]["soft_exudates"]
    assert set(metrics["lesions"]) == set(exudates) and metrics["unjudged"] == 1
    assert (hard["precision"]["value"], hard["recall"]["value"], hard["invented"]["value"]) == (1, 0.5, 0)
    assert (soft["precision"]["value"], soft["recall"]["value"], soft["invented"]["value"]) == (0, 0, 0.5)
    assert metrics["photographs_with_invented"]["value"] == pytest.approx(1 / 3)
    assert (metrics["all"]["photographs"], metrics["all"]["named"], metrics["all"]["true_positive"]) == (3, 2, 1)


def test_nothing_annotated_is_undefined():
    metrics = findings_metrics(["Haemorrhages."], [None])
    assert metrics["photographs"] == 0 and metrics["lesions"] == {}
    assert metrics["all"]["precision"] == {"value": None, "low": None, "high": None}
    assert findings_metrics(["Fine."], [found()])["all"]["recall"]["value"] is None
    with pytest.raises(ValueError, match="zip"):
        findings_metrics(["a", "b"], [None])


def test_wilson_by_hand():
    # (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with p = 8/10, z = 1.959964.
    assert wilson(8, 10)["low"] == pytest.approx(0.4901625, abs=1e-6)
    assert wilson(8, 10)["high"] == pytest.approx(0.9433178, abs=1e-6)
    assert wilson(10, 10)["low"] < 0.75 < wilson(10, 10)["high"]


def test_rows_of_the_table():
    rows = findings_rows(findings_metrics([text_of(["haemorrhages"])] * 8, [found("haemorrhages")] * 8))
    assert [row[0] for row in rows] == ["microaneurysms", "haemorrhages", "hard exudates", "soft exudates", "all"]
    assert all(len(row) == len(FINDINGS_HEADER) for row in rows)
    assert rows[1][1:6] == ("8", "8", "8", "1.00 (0.68 to 1.00)", "1.00 (0.68 to 1.00)")
    assert rows[0][3:7] == ("0", "-", "-", "0.00 (0.00 to 0.32)")
