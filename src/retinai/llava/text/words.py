"""The words of findings and grades: how a count, an area, a place or a class is said."""

from __future__ import annotations

from collections.abc import Sequence

from retinai.lesions.findings import LESION_NAMES, QUADRANTS
from retinai.tasks.task import Task

# (highest count, words); above the last: OVER.
COUNTS = ((1, "one"), (5, "a few"), (20, "several"), (100, "many"))
OVER = "over 100"
LEAST_AREA = "under 0.1%"
EVERYWHERE = "all quadrants"
# Class names that do not read well with their underscores turned into spaces.
_CLASSES = {"no_dr": "no retinopathy"}


# Labels of one letter (ODIR).
_LABELS = {
    "N": "a normal fundus",
    "D": "diabetic retinopathy",
    "G": "glaucoma",
    "C": "cataract",
    "A": "age-related macular degeneration",
    "H": "hypertensive changes",
    "M": "pathological myopia",
    "O": "another abnormality",
}


def label_words(task: Task, label: int) -> str:
    """Return the name of a label in words, such as `glaucoma`."""
    name = task.classes[label]
    return _LABELS.get(name, name.replace("_", " "))


def class_words(task: Task, grade: int) -> str:
    """Return the name of a grade in words, such as `moderate`."""
    name = task.classes[grade]
    return _CLASSES.get(name, name.replace("_", " "))


def lesion_words(lesion: str, count: int = 2) -> str:
    """Return a lesion's name in words, in the singular where there is one of it."""
    words = lesion.replace("_", " ")
    return words.removesuffix("s") if count == 1 else words


def count_words(count: int) -> str:
    """Return how many in words: one, a few (2 to 5), several (6 to 20), many (21 to 100), over 100."""
    return next((words for highest, words in COUNTS if count <= highest), OVER)


def area_words(area: float) -> str:
    """Return a share of the field of view as a percentage: one decimal below 1%, whole above.

    Args:
        area: Share, 0 to 1.
    """
    percent = 100 * area
    if percent < 0.1:
        return LEAST_AREA
    return f"{percent:.1f}%" if round(percent, 1) < 1 else f"{percent:.0f}%"


def quadrant_words(quadrants: Sequence[str], laterality: str) -> str:
    """Return quadrants in words, such as `the superonasal and inferotemporal quadrants`."""
    names = QUADRANTS[laterality]
    missing = [name for name in names if name not in quadrants]
    if not missing:
        return EVERYWHERE
    if len(missing) == 1:
        return f"{EVERYWHERE} but the {missing[0]}"
    return f"the {listed(quadrants, 'and')} quadrant{'s' if len(quadrants) > 1 else ''}"


def listed(words: Sequence[str], last: str) -> str:
    """Return words as a list: `a, b and c`."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]


def absent_words(lesions: Sequence[str]) -> str:
    """Return absent lesions as a list that follows a negation: `hard exudates or soft exudates`."""
    return listed([lesion_words(lesion) for lesion in LESION_NAMES if lesion in lesions], "or")
