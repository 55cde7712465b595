"""Columns of a label table that tell the target by themselves, and so may be the outcome under another name."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
import pandas as pd

from retinai.metrics.ranking import ranking_areas
from retinai.tasks.binary import BinaryTask
from retinai.tasks.number import NumberTask
from retinai.tasks.task import Task

# A column of numbers without any meaning tells a target of few photographs now and then: that is not told of.
_CHANCE = 0.001
# Words of a column that are more than this share of the photographs are names of them.
_WORDS = 0.2


def leak_note(column: str, cells: Sequence[str], targets: Sequence[Any], task: Task) -> str | None:
    """Return the sentence on a column that answers the target, or a question on it; None if it answers none.

    Numbers answer a question if they rank every yes above every no, or below (an area under the ROC curve of 1);
    words, if each goes with one answer. Targets that are numbers are answered by a column in their order.

    Args:
        column: Its name.
        cells: Texts, one per photograph; an empty one is not known.
        targets: Of the task, one per photograph; None where a photograph has none.
        task: The task of the targets.
    """
    known = [(cell, target) for cell, target in zip(cells, targets, strict=True) if cell and target is not None]
    if not known:
        return None
    texts = [text for text, _ in known]
    if isinstance(task, NumberTask):
        told, how = ["the target"] if _ranks(texts, [target for _, target in known]) else [], "rank correlation 1.0"
    else:
        questions = [question for question in task.questions() if isinstance(question.task, BinaryTask)]
        answers = {question.name: [question.answer(target) for _, target in known] for question in questions}
        told, how = [name for name, values in answers.items() if _separates(texts, np.array(values))], "AUROC 1.0"
        if told == list(answers) and answers:
            told = ["the target"]
    if not told:
        return None
    return (
        f"column {column} tells {', '.join(told)} of every photograph by itself ({how}): it may be the outcome "
        "under another name"
    )


def _separates(texts: list[str], answers: np.ndarray) -> bool:
    """Whether the cells of a column rank all yes above all no, or below, and hardly by chance."""
    positives = int((answers == 1).sum())
    if 2 / comb(len(answers), positives) > _CHANCE:  # of all orders two would do; only one class makes it 2
        return False
    try:
        scores = np.array([float(text) for text in texts])
    except ValueError:
        if len(set(texts)) > max(2, _WORDS * len(texts)):
            return False
        scores = pd.Series(answers).groupby(texts).transform("mean").to_numpy(dtype=np.float64)
    if not np.isfinite(scores).all():
        return False
    area = float(ranking_areas(scores, answers == 1, np.ones((1, len(answers)), dtype=np.float32))[0][0])
    return area in (0.0, 1.0)


def _ranks(texts: list[str], targets: list[float]) -> bool:
    """Whether numbers are in the order of the targets, or in the opposite one."""
    try:
        scores = pd.Series([float(text) for text in texts])
    except ValueError:
        return False
    values = pd.Series(targets)
    if len(scores) <= 10 or scores.nunique() < 2 or values.nunique() < 2:
        return False
    return bool(abs(scores.rank().corr(values.rank())) > 1 - 1e-9)
