"""Columns of a table that tell the target by themselves are told of, for every kind of task, and others are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from retinai.data.sources.leaks import leak_note
from retinai.data.sources.table import TableSource
from retinai.tasks.binary import BinaryTask
from retinai.tasks.grade import GradeTask
from retinai.tasks.multilabel import MultilabelTask
from retinai.tasks.number import NumberTask
from retinai.tasks.task import Task

GRADES = [i % 5 for i in range(40)]
WORDS = ("none", "mild", "moderate", "severe", "proliferative")
GRADE = GradeTask("dr", WORDS, referable_from=2)
ILL, AGES = [i % 4 == 0 for i in range(40)], [40.0 + i for i in range(40)]
LABELS = [(i % 2, int(i % 4 == 0)) for i in range(40)]
NOISE = [str(round(x, 3)) for x in np.random.default_rng(0).normal(size=40)]


@pytest.mark.parametrize(
    ("task", "targets", "cells", "told"),
    [
        (GRADE, GRADES, [WORDS[g] for g in GRADES], "the target"),
        (GRADE, GRADES, ["laser" if g >= 2 else "no" for g in GRADES], "referable"),
        (
            GRADE,
            GRADES,
            [str(10 * g + i / 100) for i, g in enumerate(GRADES)],
            "any_dr, referable, grade_0, grade_4 of every",
        ),
        (BinaryTask("ill", ("no", "ill")), ILL, [str(-float(ill)) for ill in ILL], "the target"),
        (MultilabelTask("eye", ("cataract", "glaucoma")), LABELS, [f"w{b}" for _, b in LABELS], "glaucoma"),
        (NumberTask("age", ("age",)), AGES, [str(-12 * age) for age in AGES], "the target"),
    ],
)
def test_what_a_column_tells_is_named(task: Task, targets: list[Any], cells: list[str], told: str) -> None:
    note = leak_note("x", cells, targets, task)
    assert note is not None and f"column x tells {told}" in note and "another name" in note
    assert leak_note("x", NOISE, targets, task) is None
    assert leak_note("x", [f"name {i}" for i in range(40)], targets, task) is None  # names of photographs
    assert leak_note("x", ["nan"] * 40, targets, task) is None and leak_note("x", [""] * 40, targets, task) is None


def test_a_few_photographs_that_agree_by_chance_are_not_told_of() -> None:
    task = BinaryTask("ill", ("no", "ill"))
    assert leak_note("x", [str(i) for i in range(9)], [i > 7 for i in range(9)], task) is None  # 2 orders of 9
    assert leak_note("x", [str(i) for i in range(30)], [i > 14 for i in range(30)], task) is not None


def test_grades_of_ones_own_table_have_the_note(tmp_path: Any) -> None:
    lines = [f"p{i}.png,{g},{'treated' if g else 'well'}" for i, g in enumerate(GRADES)]
    (tmp_path / "own.csv").write_text("\n".join(["path,target,state", *lines]))
    source = TableSource(file=str(tmp_path / "own.csv"))
    source.read_table()
    assert any("column state tells" in note and "AUROC 1.0" in note for note in source.notes)
