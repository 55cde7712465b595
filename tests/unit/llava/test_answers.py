from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from retinai.lesions.findings import LESION_NAMES, Findings, LesionFinding
from retinai.lesions.metrics import findings_metrics
from retinai.llava.metrics import Answers, answer_metrics
from retinai.llava.report import answer_sentences, answers_part
from retinai.prediction.predictions import Predictions
from retinai.tasks.known import DR_GRADE

FACTS = Findings(LESION_NAMES, (LesionFinding("hard_exudates", 12, 0.01, ("upper left",)),), "")
TEXTS = ["Grade 2 (moderate). Many hard exudates.", "nothing", "Grade 0 (no DR). Not referable."]


@pytest.fixture
def answers() -> Answers:
    return Answers(TEXTS, [True, False, True], [TEXTS[0], "Grade 1 (mild).", TEXTS[2]], [FACTS, None, None],
                   DR_GRADE, [0, 0, 0], [2, 1, 0], [])  # fmt: skip


@pytest.fixture
def predictions(answers: Answers) -> Predictions:
    chances = np.full((3, 5), 0.2)
    columns = {"valid": answers.valid, "answer": answers.texts, "reference": answers.references,
               "true_findings": answers.findings}  # fmt: skip
    return Predictions(DR_GRADE, ["a", "b", "c"], ["a.jpg"] * 3, ["a", "b", "c"], np.array([2, 1, 0]), chances,
                       "argmax", columns=columns)  # fmt: skip


def test_shares_by_hand(answers: Answers) -> None:
    results = answer_metrics(answers)
    assert results["n"] == 3 and results["valid"] == results["exact"] == pytest.approx(2 / 3)
    assert results["findings"] == findings_metrics(TEXTS[:1], [FACTS])  # the annotated photograph only
    assert results["findings"]["lesions"]["hard_exudates"]["true_positive"] == 1


def test_answers_that_nobody_asked_for_are_not_measured() -> None:
    results = answer_metrics(Answers(["", ""], [True, True], ["x", "y"], [FACTS, None], DR_GRADE, [0, 1]))
    nothing = {"exact": None, "findings": None, "contradictions": None, "template": None}
    assert results == {"n": 2, "valid": 1.0, **nothing}


def test_answers_without_references_have_no_exact_share() -> None:
    assert answer_metrics(Answers(["x"], [True], [None], [None], DR_GRADE, [0]))["exact"] is None


def test_predictions_carry_answers_as_columns(predictions: Predictions, answers: Answers) -> None:
    assert Answers.of(predictions) == answers
    assert Answers.of(replace(predictions, columns={})) is None and answers_part(replace(predictions, columns={})) == []


def test_the_table_tells_true_and_written_findings(predictions: Predictions) -> None:
    frame = predictions.to_frame()
    assert frame["true_findings"].tolist() == ["hard exudates 12", "", ""]
    assert frame["answer"].tolist() == TEXTS and frame["reference"].iloc[1] == "Grade 1 (mild)."
    assert predictions.take([2, 0]).to_frame()["answer"].tolist() == [TEXTS[2], TEXTS[0]]
    assert str(Findings(LESION_NAMES, (), "")) == "no lesions"


def test_the_report_and_wandb_show_them(predictions: Predictions) -> None:
    from retinai.tracking.wandb_tables import predictions as table

    (part,) = answers_part(predictions)
    (section,) = part.sections
    assert part.metrics == answer_metrics(Answers.of(predictions)) and [len(t.rows) for t in section.tables] == [5, 3]
    assert section.tables[1].rows[0][-2:] == ("hard exudates 12", TEXTS[0])
    assert "66.7% of 3" in answer_sentences(part.metrics)[0] and part.lines[0].startswith("valid grades: 66.7% of 3")
    assert list(part.tables) == ["lesions named, 1 photographs with masks"]
    shown = table(predictions, thumbnails=3)
    assert {"target", "p_mild", "true_findings", "answer"} <= set(shown.columns) and len(shown.data) == 3
