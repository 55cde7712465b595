"""What a column or a row of folders asks: which task it is, and the target of each value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retinai.config.record_schemas import CLASS_NAME, LONGEST_CLASS
from retinai.csv_cells import is_utf8
from retinai.data.sources.label_table import few
from retinai.errors import ConfigError, DataError
from retinai.tasks.binary import BinaryTask
from retinai.tasks.grade import GradeTask
from retinai.tasks.number import NumberTask
from retinai.tasks.task import Task

KINDS = ("auto", "binary", "grade", "number", "none")
# Words that mean yes where a column holds two.
_YES = ("1", "yes", "y", "true", "t", "positive", "present", "abnormal", "sick", "case")
_MOST_GRADES = 50
# Squares of what is learned stay far below the largest float32, 3e38.
_LARGEST_NUMBER = 1e12


@dataclass(frozen=True)
class LabelSettings:
    """How the labels of somebody's own data are read.

    Args:
        kind: `binary` (yes or no), `grade` (classes in an order), `auto`: binary where there are two values and grades
            where there are more, `number` (a value on a scale), or `none`: photographs without labels.
        classes: The values in their order: of two the second is yes, of grades the last is the worst. None: numbers
            by size, of two words the one that means yes, other words by the alphabet.
        referable_from: Of grades, the lowest that is referred.
        prevalence: Of yes or no, at which predictive values are given besides.

    Raises:
        ConfigError: If they contradict each other.
    """

    kind: str = "auto"
    classes: Sequence[str] | None = None
    referable_from: int | None = None
    prevalence: float | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.kind not in KINDS:
            problems.append(f"data.kind={self.kind} is unknown; valid: {', '.join(KINDS)}")
        count = None if self.classes is None else len(self.classes)
        if count is not None and (count < 2 or len(set(map(str, self.classes or ()))) < count):
            problems.append("data.classes= must name two or more different values")
        if self.kind == "binary" and count not in (None, 2):
            problems.append(f"data.kind=binary has two classes, but data.classes= names {count}")
        given = {"classes": self.classes, "referable_from": self.referable_from, "prevalence": self.prevalence}
        said = [f"data.{key}=" for key, value in given.items() if value is not None]
        if not self.labelled and said:
            problems.append(f"data.kind=none means that there are no labels, so {', '.join(said)} has no meaning")
        if self.kind == "number" and said:
            problems.append(f"data.kind=number has no classes, so {', '.join(said)} has no meaning")
        if problems:
            raise ConfigError(problems)

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return self.kind != "none"


def own_task(name: str, values: Sequence[str], settings: LabelSettings, where: str) -> tuple[Task, Mapping[str, int]]:
    """Return the task that different values make, and the target of each value.

    Args:
        name: Name of the data set.
        values: The different values, as texts.
        settings: What was said of them.
        where: File and column, or folder, for messages.

    Raises:
        DataError: If there are fewer than two values, numbers and words are mixed, numbers are no grades, or a value
            is not among the classes.
    """
    ordered = _ordered(sorted(set(values)), settings, where)
    names = [f"grade_{value}" if value.isdigit() else value for value in ordered]
    target = {value: number for number, value in enumerate(ordered)}
    check_class_names(names, where)
    binary = settings.kind == "binary" or (settings.kind == "auto" and len(ordered) == 2)
    if binary and len(ordered) != 2:
        raise DataError(f"{where} holds {len(ordered)} different values ({few(ordered)}), but data.kind=binary has two")
    if binary:
        if settings.referable_from is not None:
            raise DataError(f"data.referable_from= is for grades, but {where} holds two values")
        answers = ("no", "yes") if set(ordered) == {"0", "1"} else (names[0], names[1])
        return BinaryTask(name, answers, prevalence=settings.prevalence), target
    if settings.prevalence is not None:
        raise DataError(f"data.prevalence= is for yes or no, but {where} holds {len(ordered)} values")
    return GradeTask(name, tuple(names), referable_from=settings.referable_from), target


def number_task(name: str, column: str, values: Sequence[str], where: str) -> tuple[Task, Mapping[str, float]]:
    """Return the task of a column of numbers, and the target of each value.

    Args:
        name: Name of the data set.
        column: Name of the column, which is what the number is called.
        values: The different values, as texts.
        where: File and column, for messages.

    Raises:
        DataError: If some are no finite numbers, too large for a network's arithmetic, or all the same.
    """
    different = sorted(set(values))
    wrong = [value for value in different if not _is_finite(value)]
    if wrong:
        raise DataError(
            f"{where} holds {few(wrong)} among the numbers of data.kind=number; mend them, or leave these cells empty"
        )
    large = [value for value in different if abs(float(value)) > _LARGEST_NUMBER]
    if large:
        raise DataError(
            f"{where} holds {few(large)}; give numbers in a unit in which they stay below {_LARGEST_NUMBER:g}"
        )
    if len({float(value) for value in different}) < 2:
        what = f"one value only, {different[0]}" if different else "no values"
        raise DataError(f"{where} holds {what}; a number can be learned where there are two at least")
    check_class_names([column], where)
    return NumberTask(name, (column,)), {value: float(value) for value in different}


def check_class_names(names: Sequence[str], where: str) -> None:
    """Refuse names of classes that a checkpoint or a table could not hold."""
    wrong = [name for name in names if not CLASS_NAME.fullmatch(name) or not is_utf8(name)]
    if wrong:
        raise DataError(
            f"{where} holds names that no class can have ({few(list(map(repr, wrong)))}): at most {LONGEST_CLASS} "
            "characters of UTF-8, without | and line breaks; rename them"
        )


def _ordered(values: list[str], settings: LabelSettings, where: str) -> list[str]:
    if settings.classes is not None:
        classes = [str(value) for value in settings.classes]
        unknown = [value for value in values if value not in classes]
        if unknown:
            raise DataError(f"{where} holds {few(unknown)}, which data.classes= does not name ({few(classes, 10)})")
        return classes
    if len(values) < 2:
        raise DataError(f"{where} holds {'one value only, ' + values[0] if values else 'no values'}; two are needed")
    numbers = [value for value in values if value.isdigit()]
    if numbers and len(numbers) < len(values):
        words = [value for value in values if not value.isdigit()]
        raise DataError(
            f"{where} mixes grades and other values ({few(words)}); mend them, or name all in data.classes="
        )
    if not numbers:
        if len(values) > 2 and all(_is_number(value) for value in values):
            raise DataError(
                f"{where} holds numbers that are no grades ({few(values)}); grades are whole numbers from 0, and "
                "data.kind=number learns values on a scale"
            )
        yes = [value for value in values if value.lower() in _YES]
        return values if len(values) != 2 or len(yes) != 1 else [next(v for v in values if v != yes[0]), yes[0]]
    if len(numbers) == 2:
        return sorted(numbers, key=int)
    highest = max(map(int, numbers))
    if highest >= _MOST_GRADES:
        raise DataError(
            f"{where} holds the grade {highest}; grades count from 0, with at most {_MOST_GRADES}; "
            "data.kind=number learns values on a scale"
        )
    return [str(grade) for grade in range(highest + 1)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_finite(text: str) -> bool:
    return _is_number(text) and math.isfinite(float(text))
