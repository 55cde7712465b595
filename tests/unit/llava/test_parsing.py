"""Grades and lesions read from texts, awkward ones too."""

from __future__ import annotations

import pytest

from retinai.llava.text.parsing import named_lesions, parse_grade
from retinai.tasks.known import DME_RISK, DR_GRADE

M, H, E, S = "microaneurysms", "haemorrhages", "hard_exudates", "soft_exudates"


@pytest.mark.parametrize(
    ("text", "lesions"),
    [
        ("", set()),
        ("Several microaneurysms over 0.1% of the field.", {M}),
        ("One MICRO-ANEURYSM and a dot hemorrhage.", {M, H}),
        ("Hard and soft exudates are seen.", {E, S}),
        ("Exudates; cotton-wool spots.", {E, S}),
        ("Cotton wool spot\nhaemorrhages", {S, H}),
        ("No soft exudates.", set()),
        ("No hard or soft exudates.", set()),
        ("No sign of microaneurysms, haemorrhages or hard exudates.", set()),
        ("No haemorrhages, many microaneurysms.", {M}),
        ("No haemorrhages are seen and microaneurysms are present.", {M}),
        ("Neither microaneurysms nor hemorrhages.", set()),
        ("Haemorrhages and hard exudates are absent, microaneurysms are present.", {M}),
        ("Haemorrhages: none; exudates: yes", {E}),
        ("Haemorrhages: no, hard exudates: yes", {E}),
        ("Microaneurysms, not haemorrhages.", {M}),
        ("Not only microaneurysms but also cotton-wool spots.", {M, S}),
        ("Haemorrhages aren't visible; exudates in all quadrants.", {E}),
        ("Haemorrhages aren\u2019t visible.", set()),
        ("Haemorrhages are not seen, microaneurysms are many.", {M}),
        ("No lesions except microaneurysms.", {M}),
        ("Nothing but microaneurysms.", {M}),
        ("Without microaneurysms but with haemorrhages.", {H}),
        ("Haemorrhages without exudates.", {H}),
        ("No haemorrhages, with microaneurysms.", {M}),
        ("Free of haemorrhage.", set()),
        ("Not a single haemorrhage, not one microaneurysm.", set()),
        ("0 haemorrhages, 3 microaneurysms.", {M}),
        ("Grade 0 (no retinopathy). Haemorrhages.", {H}),
        ("A few microaneurysms (no haemorrhages) and exudates.", {M, E}),
        ("No microaneurysms in the upper left quadrant but haemorrhages.", {H}),
        ("No haemorrhages. Haemorrhages in all quadrants.", {H}),
        ("Haemorrhages cannot be excluded.", {H}),
        ("Haemorrhages are excluded.", set()),
        ("absent: soft exudates, haemorrhages", set()),
        ("Drusen and glaucoma.", set()),
    ],
)
def test_lesions_that_are_named(text, lesions):
    assert named_lesions(text) == lesions


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Grade 2 (moderate).", 2),
        ("**Grade: 3**", 3),
        ("The grade is 1: mild", 1),
        ("DR graded as two.", 2),
        ("stage 4", 4),
        ("Grade-2", 2),
        ("Grade\n3", 3),
        ("2", 2),
        (" 2.\n", 2),
        ("2 (moderate)", 2),
        ("Grade 4 (proliferative). Grade 4.", 4),
        ("Grade 2 (moderate). 3 haemorrhages", 2),
        ("Moderate retinopathy", 2),
        ("moderate", 2),
        ("Severe non-proliferative DR", 3),
        ("Proliferative diabetic retinopathy", 4),
        ("No DR", 0),
        ("No diabetic retinopathy.", 0),
        ("Mild retinopathy; grade 1", 1),
        ("", None),
        ("I cannot tell the grade.", None),
        ("Non-proliferative DR", None),
        ("Mild or moderate retinopathy", None),
        ("Grade 7", None),
        ("Grade 22", None),
        ("grade -1", None),
        ("Grade 2.5", None),
        ("Grade 2 or 3", None),
        ("grade 2-3", None),
        ("Grade 2 (severe)", None),
        ("2 haemorrhages", None),
        ("2. Haemorrhages", None),
        ("Grade 2. Not grade 3.", None),
        ("On a scale from grade 0 to grade 4 it is grade 2", None),
        ("A high quality photograph of a moderate size", None),
    ],
)
def test_grades_that_are_stated(text, grade):
    assert parse_grade(text, DR_GRADE) == grade


@pytest.mark.parametrize(
    ("text", "grade"),
    [("Grade 1 (low).", 1), ("Low risk", 1), ("High risk of macular oedema.", 2), ("none", 0), ("Grade 3", None),
     ("A high quality photograph of low contrast", None), ("Grade 0 (high)", None)],
)  # fmt: skip
def test_grades_of_another_task(text, grade):
    assert parse_grade(text, DME_RISK) == grade
