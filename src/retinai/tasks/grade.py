"""Grades: each photograph has one of several classes that are in an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retinai.errors import UserError
from retinai.metrics.grade import grade_metrics
from retinai.tasks.binary import BinaryTask
from retinai.tasks.categorical import CategoricalTask
from retinai.tasks.parts import Question, Sentence

if TYPE_CHECKING:
    from retinai.metrics.validation import ValidationMetrics


@dataclass(frozen=True)
class GradeTask(CategoricalTask):
    """One of C ordered grades per photograph. A target is an int from 0 to C - 1.

    Args:
        name: Name of the task.
        classes: Names of the grades, in their order.
        referable_from: The lowest grade that is referred, 1 to C - 1; None where none is.
    """

    kind = "grade"
    target_types = ("index", "ordered")
    # The most probable grade stays the most probable under any softmax temperature. The median of ordered grades
    # would move: it stays where P(grade > k) stays on its side of one half for every k.
    scalings: ClassVar[Mapping[str, str]] = {"argmax": "softmax", "median": "cumulative"}
    main_metric = "qwk"
    metric_labels: ClassVar[Mapping[str, str]] = {
        "qwk": "quadratic weighted kappa",
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "weighted_f1": "weighted F1",
        "auroc": "AUROC (one against the rest, macro)",
        "auprc": "AUPRC (one against the rest, macro)",
        "referable_sensitivity": "sensitivity, referable DR",
        "referable_specificity": "specificity, referable DR",
        "calibration_error": "calibration error",
        "referable_auroc": "AUROC, referable DR",
    }
    report_only = frozenset({"referable_auroc"})
    sentences = (
        Sentence("qwk", "Agreement with the graders (quadratic weighted kappa, 1 is perfect): {}.", needed=True),
        Sentence("accuracy", "Of 100 photographs, {} get exactly the right grade.", per_hundred=True, needed=True),
        Sentence("referable_sensitivity", "Of 100 photographs with referable retinopathy, it refers {}.", True),
        Sentence("referable_specificity", "Of 100 photographs without, it rightly leaves {} unreferred.", True),
    )
    answer = "one of the ordered grades"
    confidence_name = "grade's probability"
    mistakes_order = "Furthest from the true grade first, then the most confident."
    submissions = ("kaggle",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.referable_from is not None and not 1 <= self.referable_from < self.num_classes:
            raise UserError(
                f"task {self.name!r}: referable_from {self.referable_from} is no grade that some are below; "
                f"valid: 1 to {self.num_classes - 1}, or None"
            )

    def questions(self) -> list[Question]:
        """Return the grade itself, each grade against the rest, and of retinopathy whether there is any, or referable.

        Names: `grade`, `grade_0` ..., `any_dr`, `referable`.
        """
        asked = [Question("grade", self, lambda grade: grade)]
        borders = {} if self.referable_from is None else {"any_dr": 1, "referable": self.referable_from}
        for name, border in borders.items():
            task = BinaryTask(name, (f"not_{name}", name))
            asked.append(Question(name, task, partial(_reaches, border)))
        for number, grade_name in enumerate(self.classes):
            task = BinaryTask(f"grade_{number}", ("rest", grade_name))
            asked.append(Question(task.name, task, partial(_is, number)))
        return asked

    def example_rows(self, values: Sequence[Any]) -> list[int]:
        """Return the first photograph of the lowest and of the highest grade that occurs."""
        grades = list(values)
        return [grades.index(grade) for grade in sorted({min(grades), max(grades)})]

    def metrics(
        self,
        targets: NDArray[Any],
        decisions: NDArray[Any],
        probabilities: NDArray[np.float64],
        weights: NDArray[np.float32],
    ) -> dict[str, Any]:
        """Return every metric of grades, see `grade_metrics`."""
        return grade_metrics(targets, decisions, probabilities, self.classes, weights, self.referable_from)

    def validation_metrics(self, rule: str) -> ValidationMetrics:
        """Return kappa, macro F1, accuracy and AUROC."""
        import torchmetrics

        from retinai.metrics.validation import ClassValidation

        c = self.num_classes
        metrics: dict[str, torchmetrics.Metric] = {
            "qwk": torchmetrics.CohenKappa(task="multiclass", num_classes=c, weights="quadratic"),
            "macro_f1": torchmetrics.F1Score(task="multiclass", num_classes=c, average="macro"),
            "accuracy": torchmetrics.Accuracy(task="multiclass", num_classes=c, average="micro"),
        }
        return ClassValidation(metrics, c, rule)


def _reaches(border: int, grade: int) -> int:
    return int(grade >= border)


def _is(number: int, grade: int) -> int:
    return int(grade == number)
