"""What is advised for each grade, and who is referred: the section `recommendation`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retinai.errors import UserError
from retinai.tasks.task import Task


@dataclass(frozen=True)
class Advice:
    """What is advised for one grade.

    Args:
        refer: Whether an ophthalmologist has to see the eyes.
        urgency: The higher, the sooner.
        texts: Language -> what to do.
    """

    refer: bool
    urgency: int
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Guideline:
    """A guideline for the grades of one task.

    Args:
        name: Of the guideline.
        source: Where it is published.
        grades: Class name -> advice.
    """

    name: str
    source: str
    grades: Mapping[str, Advice]

    @classmethod
    def of_section(cls, section: Mapping[Any, Any] | None, task: Task) -> Guideline | None:
        """Return the guideline of a configuration; None where there is none, or it is for another task.

        Args:
            section: The section `recommendation`.
            task: Of the model.

        Raises:
            UserError: If it is for the task but leaves grades out.
        """
        if section is None or section["task"] != task.name:
            return None
        missing = [name for name in task.classes if name not in section["grades"]]
        if missing:
            raise UserError(
                f"recommendation {section['name']!r} says nothing of {', '.join(missing)}; "
                f"give recommendation.grades.{missing[0]} refer, urgency, en, es and hi"
            )
        grades = {
            str(name): Advice(bool(advice["refer"]), int(advice["urgency"]), {c: advice[c] for c in ("en", "es", "hi")})
            for name, advice in section["grades"].items()
        }
        return cls(str(section["name"]), str(section["source"]), grades)
