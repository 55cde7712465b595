"""Whether an answer contradicts the grade that it begins with."""

from __future__ import annotations

import re

from retinai.lesions.findings import LESION_NAMES
from retinai.lesions.negation import affirmed, mentioned
from retinai.llava.text.parsing import parse_grade
from retinai.tasks.known import DR_GRADE
from retinai.tasks.task import Task

# The kinds, in the order in which they are told.
KINDS = ("another_grade", "referral", "lesions")
_REFERRED = r"(?:referable|referred)\b"
_NOT_REFERRED = re.compile(rf"\b(?:not|non|never|no)[-\s]+(?:to\s+be\s+|be\s+)?{_REFERRED}")
_MICROANEURYSMS = {"microaneurysms"}


def contradictions(text: str, grade: int, task: Task) -> set[str]:
    """Return how an answer contradicts a grade; empty where it does not.

    `another_grade`: it states another grade as well, or none that can be read. `referral`: it calls a grade referable
    that is not, or the reverse (for tasks that know which grades are referred). `lesions`, for grades of diabetic
    retinopathy only: a lesion is named at grade 0; another lesion than microaneurysms is named, or microaneurysms are
    denied, at grade 1; every lesion beside microaneurysms is denied at grades 2 and 3. Proliferative retinopathy is
    seen by new vessels, of which these answers do not tell.

    Args:
        text: The whole answer.
        grade: The grade that was given.
        task: A task of grades.

    Returns:
        Some of KINDS.

    Source: what each grade has is that of Wilkinson et al., "Proposed international clinical diabetic retinopathy and
        diabetic macular edema disease severity scales", Ophthalmology 110, 2003.
    """
    found = set()
    if parse_grade(text, task) != grade:
        found.add("another_grade")
    if task.referable_from is not None and _wrongly_referred(text.lower(), grade >= task.referable_from):
        found.add("referral")
    if task.name == DR_GRADE.name and _impossible(affirmed(text), mentioned(text), grade):
        found.add("lesions")
    return found


def _wrongly_referred(words: str, referable: bool) -> bool:
    denied = _NOT_REFERRED.search(words) is not None
    said = re.search(rf"\b{_REFERRED}", _NOT_REFERRED.sub(" ", words)) is not None
    return denied if referable else said


def _impossible(named: set[str], told: set[str], grade: int) -> bool:
    """Return whether a photograph of a grade cannot have the lesions that are named, and lack those that are denied."""
    if grade == 0:
        return bool(named)
    if grade == 1:
        return bool(named - _MICROANEURYSMS) or bool(_MICROANEURYSMS & (told - named))
    return grade in (2, 3) and {*LESION_NAMES} - _MICROANEURYSMS <= told - named
