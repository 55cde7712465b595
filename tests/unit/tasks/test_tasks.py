"""Kinds of task: their values, targets, CSV columns, and that they need no torch."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from retinai.errors import CheckpointError, DataError, UserError
from retinai.tasks.known import DME_RISK, DR_GRADE, ODIR_8, ODIR_COURSE
from retinai.tasks.task import Task, all_metric_labels, check_same_task, kind_class

TASKS = [DR_GRADE, DME_RISK, ODIR_8, ODIR_COURSE]
EACH_TASK = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@EACH_TASK
def test_plain_values_and_pickles_give_the_task_back(task: Task) -> None:
    assert set(task.to_dict()) == {"name", "kind", "classes", "referable_from"}
    assert Task.from_dict(task.to_dict()) == task == pickle.loads(pickle.dumps(task))
    assert type(Task.from_dict(task.to_dict())) is kind_class(task.kind)
    assert Task.from_dict({**task.to_dict(), "name": "other"}) != task


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"kind": "box"}, "'box' is unknown; valid: .*grade, .*multilabel"),
        ({"classes": ["a"], "referable_from": None}, "two or more different classes"),
        ({"classes": ["a", "a"], "referable_from": None}, "two or more different classes"),
        ({"referable_from": 0}, "valid: 1 to 4"),
        ({"referable_from": 5}, "valid: 1 to 4"),
        ({"kind": "multilabel"}, "for grades"),
    ],
)
def test_values_that_make_no_task_are_refused(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=part):
        Task.from_dict({**DR_GRADE.to_dict(), **changes})


def test_two_kinds_cannot_have_one_name() -> None:
    with pytest.raises(TypeError, match="two kinds of task are called 'grade'"):
        type("OtherGrades", (Task,), {"kind": "grade"})
    assert kind_class("grade").__name__ == "GradeTask"


@pytest.mark.parametrize(
    ("task", "target", "text", "names", "wrong"),
    [
        (DR_GRADE, 3, "3", ["severe"], [5, -1, "3", 1.5, (0, 1), float("nan")]),
        (ODIR_COURSE, (1, 1, 0), "D|G", ["D", "G"], [1, (1, 1), (1, 2, 0), "D", [1, 0, 0]]),
        (ODIR_COURSE, (0, 0, 0), "", [], []),
    ],
)
def test_a_target_in_the_table_in_a_file_and_in_words(
    task: Task, target: Any, text: str, names: list[str], wrong: list[Any]
) -> None:
    assert task.is_target(target) and not any(task.is_target(value) for value in [*wrong, None])
    assert (task.csv_label(target), task.csv_label(None)) == (text, "")
    assert (task.class_names(target), task.class_names(None)) == (names, [])
    array = task.target_array([target, target])
    assert array.shape == task.target_shape(2) and array.dtype == np.int64
    again = task.read_csv_labels(pd.Series([str(cell) for cell in task.csv_labels(array)], name="target"))
    np.testing.assert_array_equal(again, array)
    with pytest.raises(DataError, match=r"7|'X'"):
        task.read_csv_labels(pd.Series(["7" if task is not DR_GRADE else "17", "X"], name="grade 7"))
    np.testing.assert_array_equal(task.indicator([target, None]).sum(axis=1), [len(names), 0])


@EACH_TASK
def test_validation_and_evaluation_measure_the_same(task: Task) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(task.num_classes), 80)
    labels = rng.integers(0, task.num_classes, 80)
    values = [tuple(np.eye(task.num_classes, dtype=int)[k]) if task.is_target((0,) * task.num_classes) else int(k)
              for k in labels]  # fmt: skip
    targets = task.target_array(values)
    batch = torch.from_numpy(targets.astype(task.batch_dtype))
    for rule in task.decision_rules:
        from retinai.metrics.decisions import decide

        watched = task.validation_metrics(rule)
        watched.update(torch.from_numpy(probabilities), batch)
        found = task.metrics(targets, decide(probabilities, rule), probabilities, np.ones((1, 80), np.float32))
        assert float(watched.compute()[task.main_metric]) == pytest.approx(float(found[task.main_metric][0]), abs=1e-6)
    assert set(found) - {"per_class"} <= set(all_metric_labels())


def test_one_check_names_both_tasks() -> None:
    check_same_task(DR_GRADE, "checkpoint a.ckpt", DR_GRADE, "the data", "")
    with pytest.raises(CheckpointError, match=r"a\.ckpt is of task dr_grade \(no_dr, .* the data is of task dme_risk"):
        check_same_task(DR_GRADE, "checkpoint a.ckpt", DME_RISK, "the data", "choose another")


def test_tasks_need_no_torch() -> None:
    code = (
        "import sys, retinai.tasks.known as t; t.DR_GRADE.indicator([1]); print({'torch', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
