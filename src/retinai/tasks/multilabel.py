"""Several labels: each photograph has any number of the classes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retinai.errors import DataError, UserError
from retinai.metrics.calibration_error import calibration_error
from retinai.metrics.mistakes import Mistakes, label_mistakes
from retinai.metrics.multilabel import multilabel_metrics
from retinai.tasks.binary import BinaryTask
from retinai.tasks.parts import DecidedPart, Question, Sentence
from retinai.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

    from retinai.metrics.validation import ValidationMetrics

_SEPARATOR = "|"


@dataclass(frozen=True)
class MultilabelTask(Task):
    """Any number of C labels per photograph. A target is a tuple of C times 0 or 1.

    Args:
        name: Name of the task.
        classes: Names of the labels.
        referable_from: None; labels have no border of referral.
    """

    kind = "multilabel"
    target_types = ("labels",)
    distribution = "bernoulli"
    batch_dtype = "float32"
    # A label stays on its side of one half under any temperature.
    scalings: ClassVar[Mapping[str, str]] = {"threshold": "sigmoid"}
    main_metric = "macro_f1"
    metric_labels: ClassVar[Mapping[str, str]] = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "weighted_f1": "weighted F1",
        "auroc": "AUROC (one against the rest, macro)",
        "auprc": "AUPRC (one against the rest, macro)",
        "calibration_error": "calibration error",
        "odir_kappa": "ODIR kappa",
        "odir_f1": "ODIR F1",
        "odir_auc": "ODIR AUC",
        "odir_final": "ODIR final score",
        "micro_f1": "micro F1",
    }
    report_only = frozenset({"micro_f1"})
    sentences = (
        Sentence("macro_f1", "Macro F1 over the labels: {}.", needed=True),
        Sentence("accuracy", "Of 100 photographs, {} get every label right.", per_hundred=True, needed=True),
        Sentence("odir_final", "ODIR's official score (mean of kappa, F1 and AUC): {}.", needed=True),
    )
    answer = "any number of the labels"
    counted = "labels"
    confidence_name = "label's probability"
    mistakes_order = "Labels missed or invented with the most confidence first."
    submissions = ("course", "odir")
    empty_cell_is_a_label = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.referable_from is not None:
            raise UserError(f"task {self.name!r}: referable_from is for grades, not for several labels")

    def is_target(self, value: object) -> bool:
        """Return whether a value is a tuple of 0 and 1, one per label."""
        return isinstance(value, tuple) and len(value) == self.num_classes and set(value) <= {0, 1}

    def target_shape(self, count: int) -> tuple[int, ...]:
        """Return (N, C)."""
        return (count, self.num_classes)

    def target_array(self, values: Sequence[Any]) -> NDArray[np.int64]:
        """Return labels, shape (N, C), 0 or 1."""
        return np.array(values, dtype=np.int64).reshape(len(values), self.num_classes)

    def indicator(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.bool_]:
        """Return the labels as true and false, shape (N, C)."""
        matrix = np.zeros((len(values), self.num_classes), dtype=bool)
        for row, labels in enumerate(values):
            if labels is not None:
                matrix[row] = labels
        return matrix

    def questions(self) -> list[Question]:
        """Return each label by itself, under its name."""
        tasks = [BinaryTask(name, (f"not_{name}", name)) for name in self.classes]
        return [Question(task.name, task, partial(_holds, c)) for c, task in enumerate(tasks)]

    def csv_labels(self, labels: NDArray[Any]) -> list[str]:
        """Return the names of each photograph's labels, joined by `|`."""
        names = np.array(self.classes)
        return [_SEPARATOR.join(names[row.astype(bool)]) for row in labels]

    def read_csv_labels(self, column: pd.Series) -> NDArray[np.int64]:
        """Return the labels of a column."""
        index = {name: i for i, name in enumerate(self.classes)}
        labels = np.zeros((len(column), self.num_classes), dtype=np.int64)
        for row, text in enumerate(column.fillna("").astype(str)):
            for label in filter(None, text.split(_SEPARATOR)):
                if label not in index:
                    raise DataError(f"a predictions table holds the label {label!r}, which {self.name} does not have")
                labels[row, index[label]] = 1
        return labels

    def example_rows(self, values: Sequence[Any]) -> list[int]:
        """Return the first photograph."""
        return [0]

    def metrics(
        self,
        targets: NDArray[Any],
        decisions: NDArray[Any],
        probabilities: NDArray[np.float64],
        weights: NDArray[np.float32],
    ) -> dict[str, Any]:
        """Return every metric of labels, see `multilabel_metrics`."""
        return multilabel_metrics(targets, decisions, probabilities, self.classes, weights)

    def validation_metrics(self, rule: str) -> ValidationMetrics:
        """Return macro F1, accuracy and AUROC."""
        import torchmetrics

        from retinai.metrics.validation import ClassValidation

        c = self.num_classes
        metrics: dict[str, torchmetrics.Metric] = {
            "macro_f1": torchmetrics.F1Score(task="multilabel", num_labels=c, average="macro"),
            "accuracy": torchmetrics.Accuracy(task="multilabel", num_labels=c, average="micro"),
        }
        return ClassValidation(metrics, c, rule)

    def calibration_error(
        self, probabilities: NDArray[np.float64], targets: NDArray[Any], weights: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the mean of the labels' calibration errors."""
        labels = range(self.num_classes)
        return np.mean([calibration_error(probabilities[:, c], targets[:, c] == 1, weights) for c in labels], axis=0)

    def confidence_and_correctness(
        self, probabilities: NDArray[np.float64], targets: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the probability of every label of every photograph, and whether it has the label, both (N * C,)."""
        return probabilities.ravel(), targets.ravel() == 1

    def decided_parts(self, targets: NDArray[Any], decisions: NDArray[Any]) -> list[DecidedPart]:
        """Return a part of no and yes for each label."""
        return [DecidedPart(name, ("no", "yes"), targets[:, c], decisions[:, c]) for c, name in enumerate(self.classes)]

    def mistakes(self, targets: NDArray[Any], decisions: NDArray[Any], probabilities: NDArray[np.float64]) -> Mistakes:
        """Return how far the probabilities of wrong labels are from the truth, and how sure the model was of them."""
        return label_mistakes(targets, decisions, probabilities)

    def truth_probability(self, probabilities: NDArray[np.float64], targets: NDArray[Any]) -> NDArray[np.float64]:
        """Return the lowest of the probabilities that a photograph's labels are as they are."""
        return np.where(targets > 0, probabilities, 1 - probabilities).min(axis=1)


def _holds(number: int, labels: Sequence[int]) -> int:
    return int(labels[number])
