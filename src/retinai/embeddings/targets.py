"""What probes are asked: questions on the target, other columns of the owner, lesions that were annotated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from retinai.data.sources.label_table import few
from retinai.errors import DataError
from retinai.tasks.binary import BinaryTask
from retinai.tasks.number import NumberTask
from retinai.tasks.task import Task

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule

ALL = "all"
# More words in a column than this, of two that a probe can tell apart, are shown in a message.
_SHOWN = 4
_YES = {"1", "yes", "true", "positive", "present"}


@dataclass(frozen=True)
class Target:
    """What a probe is asked.

    Args:
        name: Its name, as `target=` takes it.
        task: The task of the answers.
        values: Photograph -> answer; photographs of which it is not known are not in it.
    """

    name: str
    task: Task
    values: Mapping[str, Any]


def find_targets(asked: Iterable[str], datamodule: FundusDataModule) -> list[Target]:
    """Return the targets of names.

    Args:
        asked: Names, or `all`: every question on the target, every column with a task, every annotated lesion.
        datamodule: The data set, set up.

    Raises:
        DataError: If a name is unknown, or a column mixes numbers and words; lists the valid ones.
    """
    names = list(asked)
    columns = datamodule.source.columns()
    known = _questions(datamodule) | _columns_with_tasks(datamodule)
    if any(name not in known and name not in columns for name in names):
        known |= _lesions(datamodule)  # finding the photographs of masks reads files, so only where they are meant
    found: dict[str, Target] = {}
    for name in names:
        if name == ALL:
            found |= _different(known)
        elif name in known:
            found[name] = known[name]
        elif name in columns:
            found[name] = column_target(name, columns[name], datamodule.source.label_file)
        else:
            valid = [ALL, *known, *(str(c) for c in columns if c not in known)]
            raise DataError(f"target={name} is unknown for data={datamodule.name}; valid: {few(valid, 40)}")
    return list(found.values())


def _different(known: Mapping[str, Target]) -> dict[str, Target]:
    """Leave out questions that are another one turned round: `grade_0` is what `any_dr` is not, and counts once."""
    kept: dict[str, Target] = {}
    for name, target in known.items():
        turned = {i: 1 - value for i, value in target.values.items()} if isinstance(target.task, BinaryTask) else None
        if not any(other.values in (target.values, turned) for other in kept.values()):
            kept[name] = target
    return kept


def _questions(datamodule: FundusDataModule) -> dict[str, Target]:
    labels = [(i, t) for i, t in zip(datamodule.table["id"], datamodule.table["target"], strict=True) if t is not None]
    return {
        question.name: Target(question.name, question.task, {name: question.answer(target) for name, target in labels})
        for question in datamodule.task.questions()
    }


def _columns_with_tasks(datamodule: FundusDataModule) -> dict[str, Target]:
    """Return the columns that hold targets of a task, but for the one that is the target itself."""
    columns, found = datamodule.source.columns(), {}
    for name, task in datamodule.source.column_tasks.items():
        if task != datamodule.task and name in columns:
            cells = columns[name]
            values = {str(i): int(cell) for i, cell in cells.items() if str(cell).strip().isdigit()}
            found[name] = Target(name, task, {i: v for i, v in values.items() if task.is_target(v)})
    return found


def _lesions(datamodule: FundusDataModule) -> dict[str, Target]:
    """Return for each kind of mask whether an annotated photograph has one."""
    try:
        annotated = datamodule.source.annotations()
    except DataError:  # the part with the masks was not fetched; then there is nothing to ask of it
        return {}
    names = dict.fromkeys(name for masks in annotated.values() for name in masks)
    return {
        name: Target(
            name, BinaryTask(name, (f"no_{name}", name)), {i: int(name in masks) for i, masks in annotated.items()}
        )
        for name in names
    }


def column_target(name: str, cells: pd.Series, file: str) -> Target:
    """Return the target that a column of texts is: two different values are yes or no, more numbers are a number.

    Args:
        name: Of the column.
        cells: Texts by photograph; an empty one is not known.
        file: Where the column stands, for messages.

    Raises:
        DataError: If it mixes numbers and words, or holds more than two words, or one value only.
    """
    texts = {str(i): str(cell).strip() for i, cell in cells.items() if not pd.isna(cell) and str(cell).strip()}
    different = sorted(set(texts.values()))
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").astype(float)
    numeric = bool(np.isfinite(numbers).all())
    if len(different) < 2:
        raise DataError(f"{file}: column {name} holds {'one value only' if different else 'no values'}; nothing to ask")
    if not numeric and np.isfinite(numbers).any():
        first = next(text for text in texts.values() if not _is_number(text))
        raise DataError(f"{file}: column {name} mixes numbers and words (such as {first!r}); mend it, or leave it out")
    if not numeric and len(different) > 2:
        raise DataError(
            f"{file}: column {name} holds {len(different)} different words ({few(different, _SHOWN)}); a probe takes "
            "numbers, or two words"
        )
    if len(different) == 2:
        yes = next((text for text in different if text.lower() in _YES), None)
        yes = yes or (max(different, key=float) if numeric else different[-1])
        no = next(text for text in different if text != yes)
        task = BinaryTask(name, (f"{name}_{no}", f"{name}_{yes}"))
        return Target(name, task, {i: int(text == yes) for i, text in texts.items()})
    return Target(name, NumberTask(name, (name,)), {str(i): float(value) for i, value in numbers.items()})


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
