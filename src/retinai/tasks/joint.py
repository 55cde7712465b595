"""Two grades of one photograph at once, such as retinopathy and risk of macular oedema: both have to be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retinai.errors import UserError
from retinai.metrics.bootstrap import divide
from retinai.metrics.grade import class_rates, confusion_matrices, grade_metrics
from retinai.tasks.categorical import CategoricalTask
from retinai.tasks.grade import GradeTask
from retinai.tasks.parts import DecidedPart, Sentence

if TYPE_CHECKING:
    from retinai.metrics.validation import ValidationMetrics

_BETWEEN = "/"
_SHARED = ("qwk", "accuracy", "auroc")


@dataclass(frozen=True)
class JointTask(CategoricalTask):
    """A grade and a second grade. Of K and L grades a target is `first * L + second`, from 0 to K L - 1.

    Probabilities are of pairs, so that a model may know that some do not go together. Decisions are the most probable
    pair; the joint accuracy of IDRiD's challenge is the share of photographs with both right.

    Args:
        name: Name of the task.
        classes: Names of the pairs, `first/second`, the second running faster.
        referable_from: None.

    Source: Porwal et al., "IDRiD: Diabetic Retinopathy - Segmentation and Grading Challenge", Medical Image
        Analysis 59, 2020 (sub-challenge 2).
    """

    kind = "joint"
    target_types = ("pair",)
    scalings: ClassVar[Mapping[str, str]] = {"argmax": "softmax"}
    table_order = 2
    main_metric = "joint_accuracy"
    metric_labels: ClassVar[Mapping[str, str]] = {
        "joint_accuracy": "joint accuracy (both right)",
        "first_qwk": "first grade: quadratic weighted kappa",
        "first_accuracy": "first grade: accuracy",
        "first_auroc": "first grade: AUROC",
        "second_qwk": "second grade: quadratic weighted kappa",
        "second_accuracy": "second grade: accuracy",
        "second_auroc": "second grade: AUROC",
        "calibration_error": "calibration error",
    }
    sentences = (
        Sentence("joint_accuracy", "Of 100 photographs, {} get both grades exactly right.", True, needed=True),
    )
    answer = "a pair of grades"
    confidence_name = "pair's probability"

    def __post_init__(self) -> None:
        super().__post_init__()
        first, second = self.parts
        if _pairs(first, second) != self.classes or min(len(first), len(second)) < 2:
            raise UserError(f"task {self.name!r} needs every pair of two lists of grades, got {list(self.classes)}")

    @classmethod
    def of(cls, name: str, first: GradeTask, second: GradeTask) -> JointTask:
        """Return the task of two grades."""
        return cls(name, _pairs(first.classes, second.classes))

    @cached_property
    def parts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the first and of the second grades."""
        pairs = [name.partition(_BETWEEN) for name in self.classes]
        return tuple(dict.fromkeys(a for a, _, _ in pairs)), tuple(dict.fromkeys(b for _, _, b in pairs))

    def divided(self, pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first and the second grades of pairs, each (N,)."""
        length = len(self.parts[1])
        return pairs // length, pairs % length

    def absent_classes(self, counts: Sequence[int]) -> list[str]:
        """Return the grades of either kind that no photograph has; pairs may be absent."""
        first, second = self.parts
        table = np.asarray(counts).reshape(len(first), len(second))
        names = [*zip(first, table.sum(axis=1), strict=True), *zip(second, table.sum(axis=0), strict=True)]
        return [name for name, count in names if count == 0]

    def example_rows(self, values: Sequence[Any]) -> list[int]:
        """Return the first photograph of the lowest and of the highest pair that occurs."""
        pairs = list(values)
        return [pairs.index(pair) for pair in sorted({min(pairs), max(pairs)})]

    def metrics(
        self,
        targets: NDArray[Any],
        decisions: NDArray[Any],
        probabilities: NDArray[np.float64],
        weights: NDArray[np.float32],
    ) -> dict[str, Any]:
        """Return the joint accuracy, and kappa, accuracy and AUROC of either grade."""
        w = weights.astype(np.float64)
        values: dict[str, Any] = {"joint_accuracy": divide(w @ (targets == decisions), w.sum(axis=1))}
        parts = self.parts
        table = probabilities.reshape(len(targets), len(parts[0]), len(parts[1]))
        divided = zip(
            self.divided(targets), self.divided(decisions), (table.sum(axis=2), table.sum(axis=1)), strict=True
        )
        for word, names, (true, decided, likely) in zip(("first", "second"), parts, divided, strict=True):
            found = grade_metrics(true, decided, likely, names, weights)
            values |= {f"{word}_{key}": found[key] for key in _SHARED}
        values["calibration_error"] = self.calibration_error(probabilities, targets, weights)
        rates = class_rates(confusion_matrices(targets, decisions, self.num_classes, weights))
        values["per_class"] = {
            name: {key: rates[key][:, c] for key in ("precision", "recall", "f1")}
            for c, name in enumerate(self.classes)
        }
        return values

    def decided_parts(self, targets: NDArray[Any], decisions: NDArray[Any]) -> list[DecidedPart]:
        """Return a part for each of the two grades."""
        divided = zip(("first", "second"), self.parts, self.divided(targets), self.divided(decisions), strict=True)
        return [DecidedPart(word, names, true, decided) for word, names, true, decided in divided]

    def validation_metrics(self, rule: str) -> ValidationMetrics:
        """Return joint accuracy and AUROC of the pairs."""
        import torchmetrics

        from retinai.metrics.validation import ClassValidation

        accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=self.num_classes, average="micro")
        return ClassValidation({"joint_accuracy": accuracy}, self.num_classes, rule)


def _pairs(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{a}{_BETWEEN}{b}" for a in first for b in second)
