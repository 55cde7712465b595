"""Answers that contradict the grade that they begin with, and templates filled in by a grade alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from retinai.errors import DataError
from retinai.lesions.findings import LESION_NAMES, Findings, LesionFinding
from retinai.llava.metrics import Answers, answer_metrics
from retinai.llava.text.contradictions import contradictions
from retinai.llava.text.typical import TypicalFindings
from retinai.metrics.decisions import decide
from retinai.tasks.known import DME_RISK, DR_GRADE


@pytest.mark.parametrize(
    ("grade", "text", "kinds"),
    [
        (0, "Grade 0 (no retinopathy). No hard exudates.", set()),
        (0, "Grade 0 (no retinopathy). A few microaneurysms.", {"lesions"}),
        (0, "Grade 0 (no retinopathy). Referable diabetic retinopathy.", {"referral"}),
        (0, "Grade 0 (no retinopathy). This grade is not referred to an ophthalmologist.", set()),
        (1, "Grade 1 (mild). Many microaneurysms. No haemorrhages.", set()),
        (1, "Grade 1 (mild). Many hard exudates.", {"lesions"}),
        (1, "Grade 1 (mild). No microaneurysms.", {"lesions"}),
        (2, "Grade 2 (moderate). Not referable.", {"referral"}),
        (2, "Grade 2 (moderate). Grade 3 (severe).", {"another_grade"}),
        (3, "Grade 3 (severe). Many microaneurysms. No haemorrhages, hard exudates or soft exudates.", {"lesions"}),
        (3, "Grade 3 (severe). No hard exudates or soft exudates.", set()),
        (4, "Grade 4 (proliferative). No microaneurysms, haemorrhages, hard exudates or soft exudates.", set()),
    ],
)
def test_rules_of_the_grades(grade: int, text: str, kinds: set[str]) -> None:
    assert contradictions(text, grade, DR_GRADE) == kinds


def test_lesions_say_nothing_of_other_grades() -> None:
    assert contradictions("Grade 0 (no). Many microaneurysms.", 0, DME_RISK) == set()


def _found(lesions: dict[str, int], laterality: str = "") -> Findings:
    place = ("superonasal",) if laterality else ("upper left",)
    names = [name for name in LESION_NAMES if name in lesions]
    present = tuple(LesionFinding(name, lesions[name], lesions[name] / 1000, place) for name in names)
    return Findings(LESION_NAMES, present, laterality)


def test_what_is_typical_by_hand() -> None:
    findings = {
        "a": _found({"microaneurysms": 3, "haemorrhages": 2}),
        "b": _found({"microaneurysms": 9}, "left"),
        "c": _found({"microaneurysms": 4}, "right"),
        "d": _found({"soft_exudates": 7}),
        "e": _found({}),
    }
    grades = {"a": 2, "b": 2, "c": 2, "d": 4, "f": 1}  # e is no training photograph, f has no masks
    typical = TypicalFindings.of(findings, grades)
    assert typical is not None
    usual = typical.filled(2)
    assert usual == Findings(LESION_NAMES, (LesionFinding("microaneurysms", 4, 0.004, ("superonasal",)),), "right")
    assert typical.filled(1) is None and typical.filled(0) is None
    told = typical.filled(2, _found({"haemorrhages": 50, "hard_exudates": 1}))
    assert told is not None and [(f.lesion, f.count) for f in told.present] == [
        ("haemorrhages", 2),
        ("hard_exudates", 1),
    ]
    assert TypicalFindings.from_dict(typical.to_dict()) == typical
    assert TypicalFindings.of({}, grades) is None


def test_shares_by_hand() -> None:
    texts = ["Grade 0 (no retinopathy). One haemorrhage.", "Grade 2 (moderate). One haemorrhage.", "word"]
    templates = ["Grade 0 (no retinopathy).", "Grade 2 (moderate).", None]
    truth = [_found({}), _found({"haemorrhages": 1}), None]
    grades = decide(np.eye(5)[[0, 2, 2]], "argmax").tolist()
    references = [texts[1], "Grade 2 (moderate). Not referable.", None]
    answers = Answers(texts, [True, True, False], references, truth, DR_GRADE, grades, [2, 2, 2], templates)
    results = answer_metrics(answers)
    found = results["contradictions"]
    assert (found["value"], found["photographs"], found["lesions"], found["referral"]) == (0.5, 2, 1, 0)
    assert found["references"] == 0.5
    assert results["template"]["contradictions"]["value"] == 0.0
    assert results["template"]["findings"]["all"]["recall"]["value"] == 0.0
    assert results["findings"]["photographs_with_invented"]["value"] == 0.5


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: [],
        lambda stored: stored | {"grades": [1]},
        lambda stored: stored | {"grades": {"x": stored["lesions"]}},
        lambda stored: stored | {"lesions": None},
        lambda stored: stored | {"lesions": stored["lesions"] | {"laterality": "above"}},
    ],
)
def test_damaged_lesions_of_grades_are_told_as_such(damage: Callable[[Any], Any]) -> None:
    found = Findings(("microaneurysms",), (LesionFinding("microaneurysms", 3, 0.001, ("upper left",)),), "")
    typical = TypicalFindings.of({"a": found}, {"a": 1})
    assert typical is not None
    with pytest.raises(DataError):
        TypicalFindings.from_dict(damage(typical.to_dict()))
