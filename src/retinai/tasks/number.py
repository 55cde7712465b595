"""A number: each photograph has one value on a scale, such as an age or a pressure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retinai.errors import DataError, UserError
from retinai.metrics.mistakes import Mistakes
from retinai.metrics.number import number_metrics
from retinai.tasks.parts import DecidedPart, Sentence
from retinai.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

    from retinai.metrics.validation import ValidationMetrics


@dataclass(frozen=True)
class NumberTask(Task):
    """One number per photograph. A target is a finite float, in whatever unit the owner measures.

    There are no classes and no probabilities: what others call the probability of the one class is the predicted
    number, in the unit of the targets.

    Args:
        name: Name of the task.
        classes: What the number is called, such as `age`; one name.
        referable_from: None; it is for grades.

    Source: of the limits of agreement, Bland & Altman, "Statistical methods for assessing agreement", Lancet 327, 1986.
    """

    kind = "number"
    target_types = ("number",)
    distribution = "number"
    has_probabilities = False
    batch_dtype = "float32"
    target_dtype = "float64"
    scalings: ClassVar[Mapping[str, str]] = {"value": "none"}
    poolings = ("mean",)
    main_metric = "mae"
    mode = "min"
    table_order = 3
    metric_labels: ClassVar[Mapping[str, str]] = {
        "mae": "mean absolute error",
        "rmse": "root mean squared error",
        "r2": "R2 (share of the variance explained)",
        "bias": "bias (predicted minus true)",
        "agreement_low": "lower limit of agreement (95 %)",
        "agreement_high": "upper limit of agreement (95 %)",
    }
    figures = ("agreement", "scatter")
    sentences = (
        Sentence("mae", "It is off by {} on average (mean absolute error, in the unit of the target).", needed=True),
        Sentence("r2", "Share of the variance that it explains (R2, 1 is perfect, 0 is the mean for everybody): {}."),
        Sentence("bias", "Predicted minus true is {} on average (bias)."),
        Sentence("agreement_low", "Of 100 photographs 95 are predicted no more below the truth than {}."),
        Sentence("agreement_high", "And no more above it than {} (limits of agreement)."),
    )
    answer = "a number"
    confidence_name = "number"
    mistakes_order = "The furthest from the true number first."

    def __post_init__(self) -> None:
        if len(self.classes) != 1 or not self.classes[0]:
            raise UserError(f"task {self.name!r} is of a number, which has one name, got {list(self.classes)}")
        if self.referable_from is not None:
            raise UserError(f"task {self.name!r}: referable_from is for grades, not for a number")

    @property
    def probability_columns(self) -> tuple[str, ...]:
        """The number itself is what a table holds."""
        return ("prediction",)

    def is_target(self, value: object) -> bool:
        """Return whether a value is a finite float."""
        return isinstance(value, float) and math.isfinite(value)

    def target_shape(self, count: int) -> tuple[int, ...]:
        """Return (N,)."""
        return (count,)

    def target_array(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """Return the numbers, float64 (N,)."""
        return np.array(values, dtype=np.float64)

    def indicator(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.bool_]:
        """Return where there is a number, shape (N, 1): all photographs count alike in splits and subsets."""
        return np.array([[value is not None] for value in values], dtype=bool).reshape(len(values), 1)

    def label_names(self, value: Any) -> list[str]:
        """Return the number as text of four digits."""
        return [] if value is None else [f"{float(value):.4g}"]

    def csv_labels(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers as they are."""
        return labels

    def read_csv_labels(self, column: pd.Series) -> NDArray[np.float64]:
        """Return the numbers of a column."""
        import pandas as pd

        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
        if not np.isfinite(numbers).all():
            raise DataError(f"a predictions table holds {column.name}s that are no finite numbers")
        return numbers

    def example_rows(self, values: Sequence[Any]) -> list[int]:
        """Return the first photograph of the lowest and of the highest number."""
        numbers = list(values)
        return [numbers.index(number) for number in sorted({min(numbers), max(numbers)})]

    def probability_fault(self, probabilities: NDArray[Any]) -> str:
        """Return why what a network gives cannot be numbers; empty if it can."""
        if not np.isfinite(probabilities).all():
            return "it gives numbers that are not finite, so its weights are damaged or have diverged"
        return ""

    def metrics(
        self,
        targets: NDArray[Any],
        decisions: NDArray[Any],
        probabilities: NDArray[np.float64],
        weights: NDArray[np.float32],
    ) -> dict[str, Any]:
        """Return every metric of numbers, see `number_metrics`."""
        return {**number_metrics(targets, decisions, weights), "per_class": {}}

    def validation_metrics(self, rule: str) -> ValidationMetrics:
        """Return mean absolute error and root mean squared error."""
        from retinai.metrics.validation import NumberValidation

        return NumberValidation(rule)

    def calibration_error(
        self, probabilities: NDArray[np.float64], targets: NDArray[Any], weights: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return NaN: there are no probabilities that could be right too rarely."""
        return np.full(len(weights), np.nan)

    def confidence_and_correctness(
        self, probabilities: NDArray[np.float64], targets: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return nothing, both (0,)."""
        return np.zeros(0), np.zeros(0, dtype=bool)

    def decided_parts(self, targets: NDArray[Any], decisions: NDArray[Any]) -> list[DecidedPart]:
        """Return none: a number is not right or wrong."""
        return []

    def mistakes(self, targets: NDArray[Any], decisions: NDArray[Any], probabilities: NDArray[np.float64]) -> Mistakes:
        """Return how far each number is off; how sure the model was is not known, so NaN."""
        off = np.abs(decisions - targets)
        return Mistakes(off, np.zeros(len(off)), np.full(len(off), np.nan))

    def truth_probability(self, probabilities: NDArray[np.float64], targets: NDArray[Any]) -> NDArray[np.float64]:
        """Return the absolute error with a minus, which puts the worst first as a low probability does."""
        return -np.abs(probabilities[:, 0] - targets)
