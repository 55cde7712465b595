"""One of several classes per photograph: what grades and yes or no have in common."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retinai.errors import DataError
from retinai.metrics.calibration_error import calibration_error
from retinai.metrics.mistakes import Mistakes, grade_mistakes
from retinai.tasks.parts import DecidedPart
from retinai.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CategoricalTask(Task, ABC):
    """One of C classes per photograph. A target is an int from 0 to C - 1, and probabilities sum to 1."""

    distribution = "categorical"
    batch_dtype = "int64"

    def is_target(self, value: object) -> bool:
        """Return whether a value is the number of a class."""
        return isinstance(value, int) and 0 <= value < self.num_classes

    def target_shape(self, count: int) -> tuple[int, ...]:
        """Return (N,)."""
        return (count,)

    def target_array(self, values: Sequence[Any]) -> NDArray[np.int64]:
        """Return numbers of classes, shape (N,)."""
        return np.array(values, dtype=np.int64)

    def indicator(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.bool_]:
        """Return a row per photograph in which its class alone is true, shape (N, C)."""
        matrix = np.zeros((len(values), self.num_classes), dtype=bool)
        for row, number in enumerate(values):
            if number is not None:
                matrix[row, int(number)] = True
        return matrix

    def csv_labels(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Return the numbers of the classes as they are."""
        return labels

    def read_csv_labels(self, column: pd.Series) -> NDArray[np.int64]:
        """Return the numbers of classes of a column."""
        import pandas as pd

        numbers = pd.to_numeric(column, errors="coerce")
        if not numbers.isin(range(self.num_classes)).all():
            last = self.num_classes - 1
            raise DataError(f"a predictions table holds {column.name}s that are no classes from 0 to {last}")
        return numbers.to_numpy(np.int64)

    def calibration_error(
        self, probabilities: NDArray[np.float64], targets: NDArray[Any], weights: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the calibration error of the most probable classes."""
        return calibration_error(*self.confidence_and_correctness(probabilities, targets), weights)

    def confidence_and_correctness(
        self, probabilities: NDArray[np.float64], targets: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the probability of each photograph's most probable class, and whether that is the true one."""
        return probabilities.max(axis=1), probabilities.argmax(axis=1) == targets

    def decided_parts(self, targets: NDArray[Any], decisions: NDArray[Any]) -> list[DecidedPart]:
        """Return one part, of all classes."""
        return [DecidedPart("", self.classes, targets, decisions)]

    def mistakes(self, targets: NDArray[Any], decisions: NDArray[Any], probabilities: NDArray[np.float64]) -> Mistakes:
        """Return how many classes each decision is off, and its probability."""
        return grade_mistakes(targets, decisions, probabilities)

    def truth_probability(self, probabilities: NDArray[np.float64], targets: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probability of the true class."""
        return probabilities[np.arange(len(targets)), targets]
