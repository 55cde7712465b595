"""Predictions of one model on one split: the one thing that metrics, figures and reports start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retinai.errors import DataError
from retinai.metrics.decisions import decide
from retinai.prediction.calibration.temperature import calibrated_probabilities

if TYPE_CHECKING:
    from retinai.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Predictions:
    """Class probabilities of N photographs, with their labels where they are known.

    Args:
        task: The task of the model, with its C classes.
        ids: N different names of photographs.
        paths: Their N files.
        patients: Whose they are, N; the bootstrap resamples patients. One per photograph where unknown.
        targets: Grades, shape (N,), int; labels, shape (N, C), 0 or 1; or numbers, shape (N,), float64; None where
            nothing is labelled.
        probabilities: Shape (N, C), float64, in [0, 1]; rows of a grade task add up to 1. Of a number the number.
        decision_rule: How probabilities become decisions, see `retinai.metrics.decisions.decide`.
        decided: Decisions that were made already, in the form of `decisions`; None decides by the
            probabilities at hand.
        columns: More columns of the table, N values each, such as what a language model wrote. A value that is
            neither text nor number is written as its `str`, None as nothing.
    """

    task: Task
    ids: list[str]
    paths: list[str]
    patients: list[str]
    targets: NDArray[Any] | None
    probabilities: NDArray[np.float64]
    decision_rule: str
    decided: NDArray[Any] | None = None
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        probabilities = np.asarray(self.probabilities, dtype=np.float64)
        object.__setattr__(self, "probabilities", probabilities)
        if self.targets is not None:
            object.__setattr__(self, "targets", np.asarray(self.targets).astype(self.task.target_dtype))
        n, c = len(self.ids), self.task.num_classes
        if probabilities.shape != (n, c):
            raise ValueError(f"probabilities have the shape {probabilities.shape}, expected {(n, c)}")
        if len(self.paths) != n or len(self.patients) != n:
            raise ValueError(f"{n} ids, but {len(self.paths)} paths and {len(self.patients)} patients")
        if wrong := [name for name, values in self.columns.items() if len(values) != n]:
            raise ValueError(f"{n} ids, but other numbers of values in the columns {', '.join(wrong)}")
        expected = self.task.target_shape(n)
        if self.targets is not None and self.targets.shape != expected:
            raise ValueError(f"targets have the shape {self.targets.shape}, expected {expected}")
        if self.decided is not None and self.decided.shape != expected:
            raise ValueError(f"decisions have the shape {self.decided.shape}, expected {expected}")
        self.task.check_decision_rule(self.decision_rule)
        if not np.isfinite(probabilities).all():
            raise DataError(
                f"the model gave a probability that is no number for {self.ids[_first_bad(probabilities)]}; "
                "its weights have diverged, so train with a lower learning rate"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def decisions(self) -> NDArray[Any]:
        """Decided grades or numbers, shape (N,), or decided labels, shape (N, C), 0 or 1."""
        return decide(self.probabilities, self.decision_rule) if self.decided is None else self.decided

    @property
    def labelled(self) -> NDArray[Any]:
        """The targets.

        Raises:
            DataError: If the photographs have no labels.
        """
        if self.targets is None:
            raise DataError("these photographs have no labels, so nothing can be measured on them")
        return self.targets

    def calibrated(self, calibration: Mapping[str, Any] | None) -> Predictions:
        """Return the same decisions with probabilities that are scaled by a calibration.

        Args:
            calibration: `calibration` of a module or of `fit_calibration`; None changes nothing.
        """
        if calibration is None:
            return self
        probabilities = calibrated_probabilities(self.probabilities, calibration)
        return replace(self, probabilities=probabilities, decided=self.decisions)

    def to_frame(self) -> pd.DataFrame:
        """Return the table of `predictions.csv`, one row per photograph.

        Columns: `id`, `path`, `target`, `prediction`, one `p_<class>` per class (of a number none), `patient`. Grades
        are numbers; labels are class names joined by `|`. Targets are empty where nothing is labelled. Then
        `columns`.
        """
        target = pd.array([pd.NA] * len(self)) if self.targets is None else self.task.csv_labels(self.targets)
        columns: dict[str, Any] = {
            "id": self.ids,
            "path": self.paths,
            "target": target,
            "prediction": self.task.csv_labels(self.decisions),
        }
        columns |= {name: self.probabilities[:, i] for i, name in enumerate(self.task.probability_columns)}
        more = {name: [_cell(value) for value in values] for name, values in self.columns.items()}
        return pd.DataFrame({**columns, "patient": self.patients, **more})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, task: Task, decision_rule: str) -> Predictions:
        """Rebuild predictions from the table of `to_frame`, also after a way through CSV.

        Args:
            frame: Table with the columns of `to_frame`; `patient` may be missing (then each
                photograph counts as a patient of its own), and `prediction` (then decisions are made
                from the probabilities).
            task: The task.
            decision_rule: How probabilities became decisions.

        Raises:
            DataError: If a column is missing or a target is not of the task.
        """
        wanted = ["id", "path", *task.probability_columns]
        if missing := [name for name in wanted if name not in frame]:
            raise DataError(f"a predictions table of {task.name} lacks the columns {', '.join(missing)}")
        return cls(
            task=task,
            ids=[str(name) for name in frame["id"]],
            paths=[str(path) for path in frame["path"]],
            patients=[str(patient) for patient in frame["patient" if "patient" in frame else "id"]],
            targets=_read_labels(frame, task, "target"),
            probabilities=frame[list(task.probability_columns)].to_numpy(np.float64),
            decision_rule=decision_rule,
            decided=_read_labels(frame, task, "prediction", empty_is_none=not task.empty_cell_is_a_label),
        )

    def take(self, rows: NDArray[Any] | list[int]) -> Predictions:
        """Return the predictions of some photographs, chosen by row numbers."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            ids=[self.ids[i] for i in chosen],
            paths=[self.paths[i] for i in chosen],
            patients=[self.patients[i] for i in chosen],
            targets=None if self.targets is None else self.targets[chosen],
            probabilities=self.probabilities[chosen],
            decided=None if self.decided is None else self.decided[chosen],
            columns={name: [values[i] for i in chosen] for name, values in self.columns.items()},
        )


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return value if isinstance(value, str | bool | int | float | np.generic) else str(value)


def concatenate(parts: list[Predictions]) -> Predictions:
    """Pool the predictions of several runs, such as the folds of a cross-validation.

    Raises:
        DataError: If they are of different tasks, or nothing is given.
    """
    if not parts:
        raise DataError("there are no predictions to pool")
    first = parts[0]
    if any(part.task != first.task or part.decision_rule != first.decision_rule for part in parts):
        raise DataError("predictions of different tasks or decision rules cannot be pooled")
    labelled = all(part.targets is not None for part in parts)
    return Predictions(
        task=first.task,
        ids=[name for part in parts for name in part.ids],
        paths=[path for part in parts for path in part.paths],
        patients=[patient for part in parts for patient in part.patients],
        targets=np.concatenate([part.labelled for part in parts]) if labelled else None,
        probabilities=np.concatenate([part.probabilities for part in parts]),
        decision_rule=first.decision_rule,
        decided=np.concatenate([part.decisions for part in parts]),
    )


def _first_bad(probabilities: NDArray[np.float64]) -> int:
    return int(np.flatnonzero(~np.isfinite(probabilities).all(axis=1))[0])


def _read_labels(frame: pd.DataFrame, task: Task, name: str, empty_is_none: bool = True) -> NDArray[Any] | None:
    """Read a column of labels; None where there is none."""
    if name not in frame:
        return None
    column = frame[name]
    # A labelled set in which no photograph carries any label does not occur: all empty means unlabelled.
    # That a model finds no label anywhere does occur.
    if empty_is_none and (column.isna() | (column.astype(str) == "")).all():
        return None
    return task.read_csv_labels(column)
