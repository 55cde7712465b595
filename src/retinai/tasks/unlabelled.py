"""No question at all: photographs without labels, for pre-training and for embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retinai.errors import UserError
from retinai.tasks.categorical import CategoricalTask
from retinai.tasks.parts import Question

if TYPE_CHECKING:
    from retinai.metrics.validation import ValidationMetrics

_NOTHING = "these photographs have no labels, so nothing can be learned from labels or measured against them"


@dataclass(frozen=True)
class UnlabelledTask(CategoricalTask):
    """Photographs that nobody asks anything of. A target is 0, which says only that the photograph is there.

    So splits, subsets and batches are made as for any other kind; no loss learns from it, and nothing is measured.

    Args:
        name: Name of the task.
        classes: The one class that all photographs are of.
        referable_from: None; it is for grades.
    """

    name: str = "unlabelled"
    classes: tuple[str, ...] = ("photograph",)

    kind = "unlabelled"
    target_types = ()
    scalings: ClassVar[Mapping[str, str]] = {"argmax": "softmax"}
    main_metric = "loss"
    mode = "min"
    metric_labels: ClassVar[Mapping[str, str]] = {}
    answer = "nothing"
    confidence_name = "probability"
    table_order = 9

    def __post_init__(self) -> None:
        if len(self.classes) != 1:
            raise UserError(f"task {self.name!r} is of photographs without labels and has one class")

    def questions(self) -> list[Question]:
        """Return none."""
        return []

    def example_rows(self, values: Sequence[Any]) -> list[int]:
        """Return the first photograph."""
        return [0] if len(values) else []

    def metrics(
        self,
        targets: NDArray[Any],
        decisions: NDArray[Any],
        probabilities: NDArray[np.float64],
        weights: NDArray[np.float32],
    ) -> dict[str, Any]:
        """Refuse: there is nothing to compare with.

        Raises:
            UserError: Always.
        """
        raise UserError(_NOTHING)

    def validation_metrics(self, rule: str) -> ValidationMetrics:
        """Refuse, see `metrics`.

        Raises:
            UserError: Always.
        """
        raise UserError(_NOTHING)
