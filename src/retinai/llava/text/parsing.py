"""Reading an answer back: the grade that it states and the lesions that it names.

Both are conservative. A text that states two grades states none; a lesion counts as named where it
is mentioned and not denied.
"""

from __future__ import annotations

import re

from retinai.lesions.negation import affirmed
from retinai.llava.text.words import class_words
from retinai.tasks.task import Task

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NUMBER = rf"\d+|{'|'.join(_NUMBERS)}"
# `Grade 2`, `grade: 2`, `graded as two`, `DR-grade=2`, `stage 2`; a minus before the number is not passed over.
_STATED = re.compile(
    r"\b(?:grade|graded|grading|stage|level)"
    rf"(?:-(?=\d)|[\s:=*]*(?:(?:is|as|of|at|be|would be)\b[\s:=*]*)?)({_NUMBER})\b"
)
# A bare number is a grade where it is all that stands there, or where a class in brackets follows.
_BARE = re.compile(rf"\W*({_NUMBER})\b(?=\W*$|\s*\()")
# `2 or 3`, `2-3`, `2/3`, `2.5` name no grade; `2/4`, of four, is not distinguished from them.
_UNDECIDED = re.compile(rf"\s*(?:/|-|\u2013|to|or|and|\.(?=\d))\s*(?:grade\s*)?(?:{_NUMBER})\b")
_NAME_BEFORE = r"(?:^\W*|\b(?:grade|graded|stage|risk|retinopathy|dr|oedema|edema)\s*(?:is|as|:|=)?\s*)"
_NAME_AFTER = (
    r"(?=\s+(?:\(?non-?\s?proliferative\)?\s+)?(?:\w+\s+)?(?:retinopathy|dr|npdr|pdr|risk|oedema|edema|grade)\b)"
)


def parse_grade(text: str, task: Task) -> int | None:
    """Return the grade that a text states.

    A number after `grade` (or `stage`, `level`) counts, then a number that stands alone, then the
    name of a class (`moderate retinopathy`).

    Args:
        text: An answer, of templates or free.
        task: A task of kind `grade`.

    Returns:
        The grade, 0 to C - 1; None if no grade is stated, if it is out of range, if two different ones
        are stated, or if number and class name contradict each other (`Grade 2 (severe)`).
    """
    words = " ".join(text.lower().split())
    matches = list(_STATED.finditer(words)) or [m for m in [_BARE.match(words)] if m]
    if not matches:
        named = _named_grades(words, task)
        return named.pop() if len(named) == 1 else None
    stated = {_decided(words, match, task) for match in matches}
    grade = stated.pop() if len(stated) == 1 else None
    return grade if grade is not None and grade < task.num_classes else None


def named_lesions(text: str) -> set[str]:
    """Return the lesions that a text says are there.

    British and American spelling, singular and plural, `cotton wool spots` (soft exudates), and plain
    `exudates` (hard ones, as clinicians mean it) are known. What is denied does not count: `no A, B or
    C`, `without A`, `neither A nor B`, `A are absent`, `A: none`. A list after `no` ends at `but`, at a
    new count (`no A, many B`), or where its sentence ends.

    Args:
        text: An answer, of templates or free.

    Returns:
        Names of LESION_NAMES.
    """
    return affirmed(text)


def _decided(words: str, match: re.Match[str], task: Task) -> int | None:
    """Return the number of a match, or None where more numbers or another class follow."""
    if _UNDECIDED.match(words, match.end()):
        return None
    said = match.group(1)
    number = int(said) if said.isdigit() else _NUMBERS.index(said)
    following = re.match(r"\W*(.*)", words[match.end() :])
    beside = following.group(1) if following else ""
    others = {g for g in range(task.num_classes) for n in _names(task, g) if re.match(rf"{re.escape(n)}\b", beside)}
    return number if not others or number in others else None


def _names(task: Task, grade: int) -> set[str]:
    """Return how a class is called, in lower case."""
    plain = task.classes[grade].lower().replace("_", " ")
    names = {plain, class_words(task, grade).lower()}
    return names | ({"no diabetic retinopathy"} if plain == "no dr" else set())


def _named_grades(words: str, task: Task) -> set[int]:
    """Return the grades whose class is named as a grade: at the start, or beside `retinopathy` or the like."""
    found = set()
    for grade in range(task.num_classes):
        for name in _names(task, grade):
            # `non-proliferative` is not `proliferative`.
            name_pattern = rf"(?<!non)(?<!non[-\s])\b{re.escape(name)}\b"
            if re.search(rf"{_NAME_BEFORE}{name_pattern}|{name_pattern}{_NAME_AFTER}", words) or (
                " " in name and re.search(name_pattern, words)
            ):
                found.add(grade)
    return found
