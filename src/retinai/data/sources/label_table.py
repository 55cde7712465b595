"""The label table: what every owner's files become before anything else looks at them.

One row per photograph, checked: `id` (unique), `path`, `target` (int grade, tuple of 0/1 per class,
or None when unlabelled), `patient`, `eye` ("left", "right", ""), `split` (SPLITS, or "" when the owner
gives none) and `source` (the file that the label comes from).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from retinai.errors import DataError, DataFileError
from retinai.files import place_fault
from retinai.tasks.task import Task

COLUMNS = ("id", "path", "target", "patient", "eye", "split", "source")
SPLITS = ("train", "val", "test", "predict")
_SHOWN = 5
_LONGEST = 400


def few(items: Sequence[object], shown: int = _SHOWN) -> str:
    """Return the first items as text, with the number of those not shown."""
    rest = len(items) - shown
    return ", ".join(_cut(str(i)) for i in items[:shown]) + (f" and {rest} more" if rest > 0 else "")


def _cut(text: str) -> str:
    """Return a text without its middle where nobody would read it all."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... ({len(text)} characters)"


def check_table(table: pd.DataFrame, task: Task, source_file: str | Path) -> pd.DataFrame:
    """Check a label table and return it with the standard columns, repeated rows dropped.

    Args:
        table: Columns COLUMNS, and `row` where known.
        task: The task that the targets belong to.
        source_file: The file to name in messages.

    Returns:
        The table, columns COLUMNS in order, index from 0.

    Raises:
        DataError: If the table is empty, an id has two labels, or a value is not allowed.
    """
    if table.empty:
        raise DataError(f"{source_file} lists no photographs; check data.root and data.layout")
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise DataError(f"{source_file}: the label table lacks {few(missing)}; found: {', '.join(table.columns)}")
    _check_one_label_per_id(table, source_file)
    table = table.drop_duplicates("id")[list(COLUMNS)].reset_index(drop=True)
    try:
        return _schema(task).validate(table, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        found = [
            f"{case['column']}={case['failure_case']!r} (id {table['id'].get(case['index'], '?')})"
            for case in cases.to_dict("records")
        ]
        raise DataError(f"{source_file}: {few(found)} is not allowed in a label table of {task.name}") from error


def _check_one_label_per_id(table: pd.DataFrame, source_file: str | Path) -> None:
    problems = []
    for name, rows in table[table["id"].duplicated(keep=False)].groupby("id", sort=True):
        labels = list(dict.fromkeys(rows["target"]))
        if len(labels) > 1:
            where = f" (rows {few(list(rows['row']))})" if "row" in rows else ""
            problems.append(f"{name} has the labels {' and '.join(map(str, labels))}{where}")
        for column, word in (("patient", "patients"), ("split", "parts")):
            values = list(dict.fromkeys(map(str, rows[column])))
            if len(labels) == 1 and len(values) > 1:
                problems.append(f"{name} has the {word} {' and '.join(values)}")
    if problems:
        raise DataError(
            f"{source_file}: an id may have one label, patient and part only: {few(problems)}; keep the right row"
        )


def _schema(task: Task) -> pa.DataFrameSchema:
    allowed = pa.Check(lambda value: value is None or task.is_target(value), element_wise=True)
    filled = pa.Check(lambda v: isinstance(v, str) and v != "", element_wise=True)
    return pa.DataFrameSchema(
        {
            "id": pa.Column(object, filled, unique=True, coerce=True),
            "path": pa.Column(object, filled, coerce=True),
            "target": pa.Column(object, allowed, nullable=True, coerce=True),
            "patient": pa.Column(object, filled, coerce=True),
            "eye": pa.Column(object, pa.Check.isin(["left", "right", ""]), coerce=True),
            "split": pa.Column(object, pa.Check.isin([*SPLITS, ""]), coerce=True),
            "source": pa.Column(object, coerce=True),
        }
    )


def as_targets(values: Sequence[object]) -> pd.Series:
    """Return targets as an object column, so that an int beside a None stays an int."""
    return pd.Series(list(values), dtype=object)


def check_paths(table: pd.DataFrame, root: Path, source_file: str | Path) -> None:
    """Refuse ids that lead out of the data set's folder: absolute ones, and those with `..`.

    Links inside the folder are the owner's and are followed.

    Raises:
        DataError: If there are some; names the first five ids and their number.
    """
    inside = os.path.join(os.path.abspath(root), "")  # noqa: PTH100, PTH118 (links must not be followed)
    outside = {
        name: str(source)
        for name, path, source in zip(table["id"], table["path"], table["source"], strict=True)
        if not os.path.normpath(path).startswith(inside)
    }
    if outside:
        named = Path(source_file).with_name(next(iter(outside.values())))
        file = named if named.is_file() else source_file
        raise DataError(
            f"{file}: {len(outside)} ids lead out of {root}: {few(list(outside))}; an id is the name of a photograph "
            "below that folder, not an absolute path or one with '..'"
        )


def check_files(table: pd.DataFrame, root: Path) -> None:
    """Check that every photograph of the table exists.

    Raises:
        DataError: If some are missing; names the first five and their number.
        UserError: If a folder of theirs cannot be read.
    """
    listed: dict[str, set[str]] = {}
    missing = []
    for path in table["path"]:
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = _names_in(folder)
        if name not in listed[folder]:
            missing.append(os.path.relpath(path, root))
    if missing:
        raise DataFileError(
            f"{len(missing)} of {len(table)} photographs are missing under {root}: {few(missing)}",
            "check that the images are unpacked as docs/data.md shows",
        )


def _names_in(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208
    except (OSError, ValueError) as error:  # a ValueError: no folder can have this name
        if isinstance(error, OSError) and (fault := place_fault(error)):
            raise fault from error
        return set()
