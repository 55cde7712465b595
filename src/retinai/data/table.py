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

from retinai.data.task import Task
from retinai.errors import DataError

COLUMNS = ("id", "path", "target", "patient", "eye", "split", "source")
SPLITS = ("train", "val", "test", "predict")
_SHOWN = 5


def few(items: Sequence[object], shown: int = _SHOWN) -> str:
    """Return the first items as text, with the number of those not shown."""
    rest = len(items) - shown
    return ", ".join(str(i) for i in items[:shown]) + (f" and {rest} more" if rest > 0 else "")


def read_labels(path: Path, required: Sequence[str]) -> pd.DataFrame:
    """Read an owner's label file (CSV or xlsx) as text.

    Header names lose their outer spaces, empty columns and empty rows are dropped. A column `row`
    holds the line (or sheet row) that each entry comes from.

    Args:
        path: The file.
        required: Columns that must be there.

    Returns:
        All columns as str, missing values as "", plus `row` (int).

    Raises:
        DataError: If the file is missing, empty, unreadable, has no rows, or lacks a column.
    """
    table = _read_text_table(path)
    table.columns = pd.Index([str(c).strip().removeprefix("\ufeff") for c in table.columns])
    unnamed = [c for c in table.columns if c == "" or c.startswith("Unnamed:")]
    table = table.drop(columns=[c for c in unnamed if (table[c].str.strip() == "").all()])
    missing = [c for c in required if c not in table.columns]
    if missing:
        raise DataError(
            f"{path}: column {few([repr(c) for c in missing])} is missing; "
            f"found: {', '.join(map(repr, table.columns)) or 'nothing'}"
        )
    table = table.apply(lambda column: column.str.strip())
    table["row"] = range(2, len(table) + 2)
    table = table[(table[list(required)] != "").any(axis=1)].reset_index(drop=True)
    if table.empty:
        raise DataError(f"{path} has a header but no rows; fetch it again")
    return table


def _read_text_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"the label file {path} does not exist; check data.root and the layout in docs/data.md")
    if path.stat().st_size == 0:
        raise DataError(f"the label file {path} is empty; fetch it again")
    try:
        if path.suffix.lower() == ".xlsx":
            return pd.read_excel(path, dtype=str, keep_default_na=False).fillna("")
        # Blank lines are kept for now, so that row numbers are those of the file.
        return pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig").fillna(
            ""
        )
    except (ValueError, UnicodeError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"the label file {path} cannot be read ({reason}); fetch it again") from error
    except Exception as error:
        if type(error).__name__ in ("BadZipFile", "InvalidFileException"):
            raise DataError(f"the label file {path} is not an xlsx workbook ({error}); fetch it again") from error
        raise


def parse_grades(labels: pd.DataFrame, column: str, id_column: str, task: Task, path: Path) -> list[int]:
    """Return the grades of a label file's column as integers.

    Args:
        labels: A table of `read_labels`.
        column: The column with the grades.
        id_column: The column that names the photograph, for messages.
        task: The task; grades go from 0 to C - 1.
        path: The label file, for messages.

    Raises:
        DataError: If a grade is not a whole number from 0 to C - 1; names rows and ids.
    """
    numbers = pd.to_numeric(labels[column], errors="coerce")
    wrong = ~(numbers.isin(range(task.num_classes)))
    if wrong.any():
        found = [
            f"row {row} ({name}): {value!r}"
            for row, name, value in labels.loc[wrong, ["row", id_column, column]].itertuples(index=False)
        ]
        raise DataError(
            f"{path}: {column!r} must be a whole number from 0 to {task.num_classes - 1}; found {few(found)}"
        )
    return [int(n) for n in numbers]


def parse_flags(labels: pd.DataFrame, columns: Sequence[str], id_column: str, path: Path) -> list[tuple[int, ...]]:
    """Return the 0/1 columns of a multilabel file as one tuple per row.

    Raises:
        DataError: If a value is neither 0 nor 1; names rows and ids.
    """
    numbers = labels[list(columns)].apply(pd.to_numeric, errors="coerce")
    wrong = ~numbers.isin([0, 1])
    if wrong.any(axis=None):
        found = [
            f"row {labels['row'][row]} ({labels[id_column][row]}), {column}: {labels[column][row]!r}"
            for row, column in zip(*_where(wrong), strict=True)
        ]
        raise DataError(f"{path}: labels must be 0 or 1; found {few(found)}")
    return [tuple(int(v) for v in row) for row in numbers.to_numpy()]


def _where(mask: pd.DataFrame) -> tuple[list[int], list[str]]:
    rows, columns = mask.to_numpy().nonzero()
    return [int(r) for r in rows], [str(mask.columns[int(c)]) for c in columns]


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
        raise DataError(f"{source_file}: {few(found)} is not allowed in a {task.kind} table of {task.name}") from error


def _check_one_label_per_id(table: pd.DataFrame, source_file: str | Path) -> None:
    problems = []
    for name, rows in table[table["id"].duplicated(keep=False)].groupby("id", sort=True):
        labels = list(dict.fromkeys(rows["target"]))
        if len(labels) > 1:
            where = f" (rows {few(list(rows['row']))})" if "row" in rows else ""
            problems.append(f"{name} has the labels {' and '.join(map(str, labels))}{where}")
    if problems:
        raise DataError(f"{source_file}: an id may have one label only: {few(problems)}; keep the right row")


def _schema(task: Task) -> pa.DataFrameSchema:
    if task.kind == "grade":
        allowed = pa.Check(lambda v: v is None or (isinstance(v, int) and 0 <= v < task.num_classes), element_wise=True)
    else:
        allowed = pa.Check(
            lambda v: v is None or (isinstance(v, tuple) and len(v) == task.num_classes and set(v) <= {0, 1}),
            element_wise=True,
        )
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


def check_files(table: pd.DataFrame, root: Path) -> None:
    """Check that every photograph of the table exists.

    Raises:
        DataError: If some are missing; names the first five and their number.
    """
    listed: dict[str, set[str]] = {}
    missing = []
    for path in table["path"]:
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()  # noqa: PTH112, PTH208
        if name not in listed[folder]:
            missing.append(os.path.relpath(path, root))
    if missing:
        raise DataError(
            f"{len(missing)} of {len(table)} photographs are missing under {root}: {few(missing)}; "
            "check that the images are unpacked as docs/data.md shows"
        )
