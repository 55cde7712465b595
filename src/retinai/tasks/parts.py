"""What a task hands to others: sentences for reports, parts that a confusion matrix counts, questions for probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.grade import confusion_matrix

if TYPE_CHECKING:
    from retinai.tasks.task import Task


@dataclass(frozen=True)
class Sentence:
    """A sentence on one metric at the top of a report.

    Args:
        metric: Key in `metrics.json`.
        text: The sentence; `{}` stands for the value with its interval.
        per_hundred: Give the value in 100 photographs and not as a share.
        needed: Write it for an undefined value too.
    """

    metric: str
    text: str
    per_hundred: bool = False
    needed: bool = False


@dataclass(frozen=True, eq=False)
class DecidedPart:
    """True and decided classes of which exactly one holds for each photograph: what a confusion matrix counts.

    Args:
        name: Which label it is about; empty where it is the whole task.
        classes: Names of the K classes.
        targets: True classes, shape (N,), 0 to K - 1.
        decisions: Decided classes, shape (N,).
    """

    name: str
    classes: tuple[str, ...]
    targets: NDArray[np.int64]
    decisions: NDArray[np.int64]

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How often each pair occurs, shape (K, K), rows true, columns decided."""
        return confusion_matrix(self.targets, self.decisions, len(self.classes))


@dataclass(frozen=True)
class Question:
    """A question that a target answers, such as whether there is any retinopathy where the target is a grade.

    Args:
        name: Its name, as `retinai probe target=` takes it.
        task: The task of its answers.
        answer: Target -> answer, a target of `task`.
    """

    name: str
    task: Task
    answer: Callable[[Any], Any]
