"""What a data set asks of a model: the kind of label, its classes, and the metric to watch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from retinai.errors import UserError

TaskKind = Literal["grade", "multilabel"]
_MONITORS: dict[str, str] = {"grade": "val/qwk", "multilabel": "val/macro_f1"}


@dataclass(frozen=True)
class Task:
    """The task of a data set. It travels in every checkpoint and every report.

    Args:
        name: Name of the task, such as `dr_grade`; two tasks with one name mean the same thing.
        kind: `grade` (one ordered label) or `multilabel` (any number of labels at once).
        classes: Class names; for grades in their order, index = grade.
        referable_from: For DR grades, the lowest grade that is referred (2: moderate), else None.
    """

    name: str
    kind: TaskKind
    classes: tuple[str, ...]
    referable_from: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _MONITORS:
            raise UserError(f"task kind {self.kind!r} is unknown; valid: {', '.join(_MONITORS)}")
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise UserError(f"task {self.name!r} needs two or more different classes, got {list(self.classes)}")

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.classes)

    @property
    def monitor(self) -> str:
        """Name of the validation metric that chooses the best epoch; higher is better."""
        return _MONITORS[self.kind]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values (str, list, int, None) for checkpoints and JSON."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Task:
        """Rebuild a task from `to_dict`."""
        return cls(**{**values, "classes": tuple(values["classes"])})


DR_GRADE = Task("dr_grade", "grade", ("no_dr", "mild", "moderate", "severe", "proliferative"), referable_from=2)
DME_RISK = Task("dme_risk", "grade", ("none", "low", "high"))
ODIR_8 = Task("odir", "multilabel", ("N", "D", "G", "C", "A", "H", "M", "O"))
ODIR_COURSE = Task("odir_course", "multilabel", ("D", "G", "A"))
