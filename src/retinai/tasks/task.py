"""The base of all kinds of task: what a data set asks of a model, and all that follows from it.

A new kind is one file with one subclass of `Task`; everything else asks the task and never its kind.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retinai.errors import CheckpointError, UserError
from retinai.tasks.parts import DecidedPart, Question, Sentence

if TYPE_CHECKING:
    import pandas as pd

    from retinai.metrics.mistakes import Mistakes
    from retinai.metrics.validation import ValidationMetrics

# Probabilities in bfloat16 and int8 leave the sum of a softmax within this of 1.
_SUM_TOLERANCE = 0.02


@dataclass(frozen=True)
class Task(ABC):
    """What a data set asks of a model. It travels in every checkpoint and every report.

    A subclass that gives a `kind` is known by it as soon as its module is imported; the modules of this folder are
    imported when a kind is looked up.

    Args:
        name: Name of the task, such as `dr_grade`; two tasks with one name mean the same thing.
        classes: Names of the C classes; for grades in their order, index = grade.
        referable_from: For grades, the lowest one that is referred (DR: 2, moderate), else None.

    Attributes:
        kind: Name of the kind of task.
        target_types: What its targets are, for losses to say which they learn from: `index` (the number of a class),
            `ordered` (the order of these numbers means something), `pair` (the number of a pair of grades), `labels`
            (0 or 1 for each class), `number` (a value on a scale); none where there is nothing to learn.
        distribution: `categorical` (one class holds, the probabilities of a photograph add up to 1), `bernoulli` (each
            class holds or not by itself), or `number` (no classes: what is given is the number itself).
        has_probabilities: Whether it gives probabilities, which a temperature can scale.
        batch_dtype: Type of the targets in a batch.
        target_dtype: Type of the targets in arrays of whole data sets.
        scalings: Decision rule (see `retinai.metrics.decisions`) -> how a temperature scales the probabilities that
            it decides on (see `retinai.prediction.calibration`). The first rule is the default.
        main_metric: The metric that chooses the best epoch.
        mode: `max` where higher values of it are better, else `min`.
        metric_labels: Metric -> its name in tables, in the order in which people ask for them.
        report_only: Metrics that the table on the terminal leaves out.
        figures: Names of the figures of its report, see `retinai.reports.run_report`.
        poolings: How predictions of one person's photographs become the person's, see `retinai.prediction.patients`.
        sentences: What a reader of a report should know first.
        answer: What it gives for a photograph, in words.
        counted: What a figure of its probabilities counts: photographs or labels.
        confidence_name: Which probability a reliability figure shows, in words.
        mistakes_order: How its worst mistakes are ordered, in words.
        submissions: Layouts of submissions (`retinai predict format=`) that it fits.
        empty_cell_is_a_label: Whether an empty cell of a CSV file is a decision (no label at all) too.
        table_order: In a table of several kinds, the metrics of a kind with a lower number come first.
    """

    name: str
    classes: tuple[str, ...]
    referable_from: int | None = None

    kind: ClassVar[str]
    target_types: ClassVar[tuple[str, ...]]
    distribution: ClassVar[str]
    has_probabilities: ClassVar[bool] = True
    batch_dtype: ClassVar[str]
    target_dtype: ClassVar[str] = "int64"
    scalings: ClassVar[Mapping[str, str]]
    main_metric: ClassVar[str]
    mode: ClassVar[str] = "max"
    metric_labels: ClassVar[Mapping[str, str]]
    report_only: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[tuple[str, ...]] = ("confusion_matrix", "roc", "pr", "reliability")
    poolings: ClassVar[tuple[str, ...]] = ("max", "mean", "noisy_or")
    sentences: ClassVar[tuple[Sentence, ...]] = ()
    answer: ClassVar[str]
    counted: ClassVar[str] = "photographs"
    confidence_name: ClassVar[str]
    mistakes_order: ClassVar[str] = "The most confident first."
    submissions: ClassVar[tuple[str, ...]] = ()
    empty_cell_is_a_label: ClassVar[bool] = False
    table_order: ClassVar[int] = 0

    def __init_subclass__(cls, **options: Any) -> None:
        """Make the kind known."""
        super().__init_subclass__(**options)
        if "kind" in cls.__dict__:
            known = _KINDS.setdefault(cls.kind, cls)
            if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise TypeError(f"two kinds of task are called {cls.kind!r}: {known.__module__} and {cls.__module__}")
            _KINDS[cls.kind] = cls

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise UserError(f"task {self.name!r} needs two or more different classes, got {list(self.classes)}")

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.classes)})"

    # Names and plain values.

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.classes)

    @property
    def monitor(self) -> str:
        """Name of the validation metric that chooses the best epoch; `mode` says which direction is better."""
        return f"val/{self.main_metric}"

    @property
    def probability_columns(self) -> tuple[str, ...]:
        """Columns of a table of predictions that hold what the network gives, C of them."""
        return tuple(f"p_{name}" for name in self.classes)

    @property
    def decision_rules(self) -> tuple[str, ...]:
        """The rules by which its probabilities may become decisions, the default first."""
        return tuple(self.scalings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values (str, list, int, None) for checkpoints and JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "classes": list(self.classes),
            "referable_from": self.referable_from,
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Task:
        """Rebuild a task from `to_dict`.

        Raises:
            UserError: If the kind is unknown, or the values make no task of it.
            KeyError, TypeError: If a value is missing, or there are others.
        """
        options = {**values, "classes": tuple(values["classes"])}
        return kind_class(options.pop("kind"))(**options)

    def check_decision_rule(self, rule: str) -> None:
        """Refuse a decision rule that is not one of the task's.

        Raises:
            ValueError: Names the valid ones.
        """
        if rule not in self.scalings:
            valid = ", ".join(self.decision_rules)
            raise ValueError(f"decision rule {rule!r} does not fit a task of kind {self.kind}; valid: {valid}")

    # Targets. In a label table a target is one value per photograph, or None where nothing is labelled.

    def require_probabilities(self, who: str, why: str) -> None:
        """Refuse a task whose answers have no probabilities.

        Args:
            who: What gives the answers, as the user wrote it.
            why: What probabilities are needed for, in a clause.

        Raises:
            UserError: If it has none.
        """
        if not self.has_probabilities:
            raise UserError(f"{who} gives {self.answer} per photograph; {why}")

    @abstractmethod
    def is_target(self, value: object) -> bool:
        """Return whether a value of a label table is a target of the task."""

    @abstractmethod
    def target_shape(self, count: int) -> tuple[int, ...]:
        """Return the shape of the targets, and of the decisions, of so many photographs."""

    @abstractmethod
    def target_array(self, values: Sequence[Any]) -> NDArray[Any]:
        """Return the targets of N labelled photographs as an array of `target_shape(N)` and `target_dtype`."""

    @abstractmethod
    def indicator(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.bool_]:
        """Return which classes hold for each photograph, shape (N, C); none where a value is None."""

    def absent_classes(self, counts: Sequence[int]) -> list[str]:
        """Return the classes without which a training part cannot be learned from, and which no photograph has.

        Args:
            counts: Photographs per class, length C.
        """
        return [f"{name} ({i})" for i, name in enumerate(self.classes) if counts[i] == 0]

    def questions(self) -> list[Question]:
        """Return the questions that its targets answer, for probes: itself, and what follows from it."""
        return [Question(self.name, self, lambda target: target)]

    def class_names(self, value: Any) -> list[str]:
        """Return the names of the classes that hold for a photograph; none where it is not labelled."""
        return [name for name, holds in zip(self.classes, self.indicator([value])[0], strict=True) if holds]

    def label_names(self, value: Any) -> list[str]:
        """Return what a target or decision is called where people read it: by default the names of its classes."""
        return self.class_names(value)

    @abstractmethod
    def csv_labels(self, labels: NDArray[Any]) -> NDArray[Any] | list[str]:
        """Return targets or decisions of N photographs as a column of a CSV file, N."""

    def csv_label(self, value: Any) -> str:
        """Return a target of a label table as the text of a CSV file; empty where nothing is labelled."""
        return "" if value is None else str(self.csv_labels(self.target_array([value]))[0])

    @abstractmethod
    def read_csv_labels(self, column: pd.Series) -> NDArray[Any]:
        """Return a column of `csv_labels` as an array again.

        Raises:
            DataError: If it holds what is no label of the task.
        """

    @abstractmethod
    def example_rows(self, values: Sequence[Any]) -> list[int]:
        """Return which of N labelled photographs show what the task is about, one or two of them."""

    # Probabilities.

    def probability_fault(self, probabilities: NDArray[Any]) -> str:
        """Return why numbers cannot be the probabilities of a network for this task, in a clause; empty if they can.

        Args:
            probabilities: Shape (N, C).
        """
        if not np.isfinite(probabilities).all():
            return "it gives probabilities that are no numbers, so its weights are damaged or have diverged"
        if probabilities.min() < 0 or probabilities.max() > 1 + _SUM_TOLERANCE:
            return "what it gives are no probabilities"
        if self.distribution == "categorical" and np.abs(probabilities.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
            return "the probabilities of its classes do not add up to 1"
        return ""

    # Metrics. All take targets and decisions of `target_shape(N)` and probabilities (N, C).

    @abstractmethod
    def metrics(
        self,
        targets: NDArray[Any],
        decisions: NDArray[Any],
        probabilities: NDArray[np.float64],
        weights: NDArray[np.float32],
    ) -> dict[str, Any]:
        """Return every metric under each row of weights, shape (R, N).

        Returns:
            Name -> shape (R,); under `per_class` class -> name -> shape (R,), nothing where there are no classes.
        """

    @abstractmethod
    def validation_metrics(self, rule: str) -> ValidationMetrics:
        """Return the metrics of each epoch's validation, among them `main_metric`.

        Args:
            rule: How probabilities become decisions.
        """

    @abstractmethod
    def calibration_error(
        self, probabilities: NDArray[np.float64], targets: NDArray[Any], weights: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the expected calibration error under each row of weights, shape (R,)."""

    @abstractmethod
    def confidence_and_correctness(
        self, probabilities: NDArray[np.float64], targets: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the probabilities that a reliability figure is drawn of, and whether each came true, both (M,)."""

    @abstractmethod
    def decided_parts(self, targets: NDArray[Any], decisions: NDArray[Any]) -> list[DecidedPart]:
        """Return what confusion matrices are drawn of: one part, or one per label."""

    @abstractmethod
    def mistakes(self, targets: NDArray[Any], decisions: NDArray[Any], probabilities: NDArray[np.float64]) -> Mistakes:
        """Return how wrong each decision is, and how sure the model was of it."""

    @abstractmethod
    def truth_probability(self, probabilities: NDArray[np.float64], targets: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probability that each prediction gives to the truth, shape (N,); of several labels the lowest."""


_KINDS: dict[str, type[Task]] = {}


def kind_class(kind: str) -> type[Task]:
    """Return the class of a kind of task.

    Raises:
        UserError: If there is none of this name; lists the valid ones.
    """
    if kind not in _KINDS:
        list(_shipped_modules())
    if kind not in _KINDS:
        raise UserError(
            f"task kind {kind!r} is unknown; valid: {', '.join(sorted(_KINDS))} (a kind of your own is known once the "
            "module that defines it is imported)"
        )
    return _KINDS[kind]


def all_metric_labels() -> dict[str, str]:
    """Return the metrics of all kinds of task that are known, with their names in tables, in one order.

    Where several kinds have a metric, the first one names it; those of this folder come before others.
    """
    list(_shipped_modules())
    labels: dict[str, str] = {}
    for kind in sorted(
        _KINDS.values(), key=lambda k: (not k.__module__.startswith(__package__), k.table_order, k.kind)
    ):
        labels |= {key: label for key, label in kind.metric_labels.items() if key not in labels}
    return labels


def _shipped_modules() -> Iterator[Any]:
    """Import the modules of this folder, so that the kinds that they define are known."""
    folder = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(folder.__path__):
        yield importlib.import_module(f"{__package__}.{module.name}")


def check_same_task(task: Task, owner: str, other: Task, other_owner: str, remedy: str) -> None:
    """Refuse to use two things of different tasks together.

    Args:
        task: Of a checkpoint.
        owner: Whose it is, for the message: `checkpoint FILE`.
        other: The task that it has to be.
        other_owner: Whose that is.
        remedy: What to do about it.

    Raises:
        CheckpointError: Names both tasks with their classes.
    """
    if task != other:
        raise CheckpointError(f"{owner} is of task {task}, but {other_owner} is of task {other}; {remedy}")
