"""Yes or no: each photograph has one of two classes, of which the second is what is looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retinai.errors import DataError, UserError
from retinai.metrics.binary import binary_metrics
from retinai.metrics.calibration_error import calibration_error
from retinai.metrics.mistakes import Mistakes, grade_mistakes
from retinai.tasks.task import DecidedPart, Sentence, Task

if TYPE_CHECKING:
    import pandas as pd

    from retinai.metrics.validation import ValidationMetrics


@dataclass(frozen=True)
class BinaryTask(Task):
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
    distribution = "categorical"
    batch_dtype = "int64"
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

    def is_target(self, value: object) -> bool:
        """Return whether a value is 0 or 1."""
        return isinstance(value, int) and value in (0, 1)

    def target_shape(self, count: int) -> tuple[int, ...]:
        """Return (N,)."""
        return (count,)

    def target_array(self, values: Sequence[Any]) -> NDArray[np.int64]:
        """Return 0 and 1, shape (N,)."""
        return np.array(values, dtype=np.int64)

    def indicator(self, values: Sequence[Any] | NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return a row per photograph in which its class alone is true, shape (N, 2)."""
        rows = [[value is not None and int(value) == c for c in (0, 1)] for value in values]
        return np.array(rows, dtype=bool).reshape(-1, 2)

    def csv_labels(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return 0 and 1 as they are."""
        return labels

    def read_csv_labels(self, column: pd.Series) -> NDArray[np.int64]:
        """Return 0 and 1 of a column."""
        import pandas as pd

        numbers = pd.to_numeric(column, errors="coerce")
        if not numbers.isin((0, 1)).all():
            raise DataError(f"a predictions table holds {column.name}s that are neither 0 nor 1")
        return numbers.to_numpy(np.int64)

    def example_rows(self, values: Sequence[Any]) -> list[int]:
        """Return the first photograph of each class that occurs."""
        answers = list(values)
        return [answers.index(answer) for answer in sorted(set(answers))]

    def metrics(
        self,
        targets: NDArray[np.int64],
        decisions: NDArray[np.int64],
        probabilities: NDArray[np.float64],
        weights: NDArray[np.float32],
    ) -> dict[str, Any]:
        """Return every metric, see `binary_metrics`."""
        return binary_metrics(targets, decisions, probabilities, self.classes, weights, self.prevalence)

    def validation_metrics(self, rule: str) -> ValidationMetrics:
        """Return accuracy and AUROC."""
        import torchmetrics

        from retinai.metrics.validation import ValidationMetrics

        return ValidationMetrics({"accuracy": torchmetrics.Accuracy(task="binary")}, 2, rule)

    def calibration_error(
        self, probabilities: NDArray[np.float64], targets: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the calibration error of the likelier answers."""
        return calibration_error(*self.confidence_and_correctness(probabilities, targets), weights)

    def confidence_and_correctness(
        self, probabilities: NDArray[np.float64], targets: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the probability of each photograph's likelier answer, and whether that is the true one."""
        return probabilities.max(axis=1), probabilities.argmax(axis=1) == targets

    def decided_parts(self, targets: NDArray[np.int64], decisions: NDArray[np.int64]) -> list[DecidedPart]:
        """Return one part."""
        return [DecidedPart("", self.classes, targets, decisions)]

    def mistakes(
        self, targets: NDArray[np.int64], decisions: NDArray[np.int64], probabilities: NDArray[np.float64]
    ) -> Mistakes:
        """Return which answers are wrong, and their probability."""
        return grade_mistakes(targets, decisions, probabilities)

    def truth_probability(self, probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability of the true answer."""
        return probabilities[np.arange(len(targets)), targets]
