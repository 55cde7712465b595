"""Yes or no: each photograph has one of two classes, of which the second is what is looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retinai.errors import UserError
from retinai.metrics.binary import binary_metrics
from retinai.tasks.categorical import CategoricalTask
from retinai.tasks.parts import Sentence

if TYPE_CHECKING:
    from retinai.metrics.validation import ValidationMetrics


@dataclass(frozen=True)
class BinaryTask(CategoricalTask):
    """One question per photograph. A target is 0 or 1.

    Args:
        name: Name of the task.
        classes: Names of no and yes, in this order.
        referable_from: None; it is for grades.
        prevalence: Share of yes among those who will be asked, between 0 and 1, at which predictive values are given
            besides those of the photographs at hand; None for these alone. Two tasks may differ in it.
    """

    prevalence: float | None = field(default=None, compare=False)

    kind = "binary"
    target_types = ("index",)
    scalings: ClassVar[Mapping[str, str]] = {"argmax": "softmax"}
    table_order = 1
    main_metric = "auroc"
    metric_labels: ClassVar[Mapping[str, str]] = {
        "auroc": "AUROC",
        "auprc": "AUPRC",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
        "ppv": "positive predictive value",
        "npv": "negative predictive value",
        "ppv_at_prevalence": "positive predictive value at the given prevalence",
        "npv_at_prevalence": "negative predictive value at the given prevalence",
        "f1": "F1",
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "calibration_error": "calibration error",
    }
    sentences = (
        Sentence("auroc", "A photograph with the finding is ranked above one without it with probability {} (AUROC)."),
        Sentence("sensitivity", "Of 100 photographs with the finding, it finds {}.", per_hundred=True),
        Sentence("specificity", "Of 100 photographs without, it rightly clears {}.", per_hundred=True),
        Sentence("ppv_at_prevalence", "At the given prevalence, of 100 that it calls {} have the finding.", True),
    )
    answer = "yes or no"
    confidence_name = "answer's probability"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.classes) != 2:
            raise UserError(f"task {self.name!r} is one of yes or no and has two classes, got {list(self.classes)}")
        if self.referable_from is not None:
            raise UserError(f"task {self.name!r}: referable_from is for grades, not for yes or no")
        if self.prevalence is not None and not 0 < self.prevalence < 1:
            raise UserError(f"task {self.name!r}: the prevalence {self.prevalence} is no share between 0 and 1")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, with the prevalence where one is given."""
        return super().to_dict() | ({} if self.prevalence is None else {"prevalence": self.prevalence})

    def example_rows(self, values: Sequence[Any]) -> list[int]:
        """Return the first photograph of each class that occurs."""
        answers = list(values)
        return [answers.index(answer) for answer in sorted(set(answers))]

    def metrics(
        self,
        targets: NDArray[Any],
        decisions: NDArray[Any],
        probabilities: NDArray[np.float64],
        weights: NDArray[np.float32],
    ) -> dict[str, Any]:
        """Return every metric, see `binary_metrics`."""
        return binary_metrics(targets, decisions, probabilities, self.classes, weights, self.prevalence)

    def validation_metrics(self, rule: str) -> ValidationMetrics:
        """Return accuracy and AUROC."""
        import torchmetrics

        from retinai.metrics.validation import ClassValidation

        return ClassValidation({"accuracy": torchmetrics.Accuracy(task="binary")}, 2, rule)
