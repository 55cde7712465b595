"""Reading an owner's label file, CSV or xlsx, as text, and its labels as numbers.

Nothing is guessed: a row with more fields than the header, or a column that stands there twice, is refused,
because every other reading of such a file shifts or hides labels without a word.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from retinai.data.sources.label_table import few
from retinai.errors import DataError, DataFileError
from retinai.files import MAX_TEXT_BYTES, UnreadableError, read_regular
from retinai.tasks.task import Task

_Row = tuple[int, list[str]]  # the line or sheet row, from 1, and its fields
_WHOLE = re.compile(r"\+?(\d{1,9})(?:\.0*)?")  # 2, or 2.0 as other programs write it
_SHOWN_CHARACTERS = 40


def read_labels(path: Path, required: Sequence[str], called: str = "label file") -> pd.DataFrame:
    """Read an owner's label file (CSV or xlsx) as text.

    Header names lose their outer spaces, empty columns and empty rows are dropped. A column `row`
    holds the line (or sheet row) that each entry comes from.

    Args:
        path: The file.
        required: Columns that must be there; a row in which all of them are empty is dropped. Without any, all count.
        called: What the file is, for messages.

    Returns:
        All columns as str, missing values as "", plus `row` (int).

    Raises:
        DataError: If the file is missing, empty, unreadable, has no rows, lacks a column, has one twice, or
            has rows with more fields than the header.
    """
    rows = _read_rows(path, called)
    header = [name.strip() for name in rows[0][1]] if rows else []
    missing = [c for c in required if c not in header]
    if missing:
        raise DataError(
            f"{path}: column {few([repr(c) for c in missing])} is missing; "
            f"found: {', '.join(repr(_short(name)) for name in header if name) or 'nothing'}"
        )
    _check_shape(path, header, rows[1:])
    content = [[*(value.strip() for value in fields), *[""] * len(header)][: len(header)] for _, fields in rows[1:]]
    table = pd.DataFrame(content, columns=pd.Index(header, dtype=object), dtype=object)
    table = table.loc[:, [name != "" for name in header]]
    table["row"] = [number for number, _ in rows[1:]]
    looked_at = list(required) or [str(name) for name in table if name != "row"]
    table = table[(table[looked_at] != "").any(axis=1)].reset_index(drop=True)
    if table.empty and any(value.strip() for _, fields in rows[1:] for value in fields):
        raise DataError(f"{path}: no row has a value in column {few([repr(c) for c in looked_at])}; mend the table")
    if table.empty:
        raise DataError(f"{path} has a header but no rows; fetch it again")
    return table


def _check_shape(path: Path, header: Sequence[str], rows: Sequence[_Row]) -> None:
    """Refuse columns that stand there twice, fields beyond the header, and values under no name."""
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise DataError(f"{path}: column {few([repr(name) for name in twice])} stands there twice; keep the right one")
    long = [(number, fields) for number, fields in rows if any(value.strip() for value in fields[len(header) :])]
    if long:
        number, fields = long[0]
        raise DataError(
            f"{path}: {len(long)} rows have more fields than the header: row {number} has {len(fields)}, the header "
            f"{len(header)}; a comma may be missing there, or a value with a comma needs quotes"
        )
    unnamed = [place for place, name in enumerate(header) if not name]
    for number, fields in rows:
        for place in unnamed:
            if place < len(fields) and fields[place].strip():
                raise DataError(
                    f"{path}: row {number} has the value {_short(fields[place])!r} in column {place + 1}, which has no "
                    "name; name the column or empty it"
                )


def _read_rows(path: Path, called: str) -> list[_Row]:
    """Return header and rows of a file, each with the line or sheet row where it begins."""
    try:
        data = read_regular(path, MAX_TEXT_BYTES)
    except UnreadableError as error:
        if error.reason == "no such file":
            raise DataFileError(
                f"the {called} {path} does not exist", "check data.root and the layout in docs/data.md"
            ) from error
        raise DataFileError(
            f"the {called} {path} cannot be used: {error.reason}", "put the right file there"
        ) from error
    if not data:
        raise DataFileError(f"the {called} {path} is empty", "fetch it again")
    if path.suffix.lower() == ".xlsx":
        return _workbook_rows(path, data)
    try:
        return _csv_rows(data)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        reason = f"line {line} is not UTF-8 text"
    except (csv.Error, ValueError) as error:
        reason = str(error)
    raise DataFileError(f"the {called} {path} cannot be read ({reason})", "fetch it again, or save it as CSV in UTF-8")


def _csv_rows(data: bytes) -> list[_Row]:
    text = data.decode("utf-8-sig")
    if "\0" in text:
        raise ValueError(f"line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a zero byte, so it is no text")
    reader, rows, begin = csv.reader(io.StringIO(text, newline=""), strict=True), list[_Row](), 1
    try:
        for fields in reader:
            rows.append((begin, fields))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {begin}: {error}") from error
    return rows


def _workbook_rows(path: Path, data: bytes) -> list[_Row]:
    import openpyxl

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_TEXT_BYTES:
            raise ValueError(f"it unpacks to {unpacked / 2**20:,.0f} MiB")
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # some programs write wrong ones
        values = list(sheet.iter_rows(values_only=True))
        formula = _formula_without_value(data, values)
    except MemoryError:
        raise
    except Exception as error:  # openpyxl raises nearly anything on a damaged workbook
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} is not a whole xlsx workbook ({_short(reason, 100)}); fetch it again") from error
    if formula:
        raise DataError(
            f"{path}: cell {formula} holds a formula whose value is not in the file; open and save the workbook in a "
            "spreadsheet program, or write the value itself"
        )
    return [(number, [_cell_text(value) for value in row]) for number, row in enumerate(values, 1)]


def _formula_without_value(data: bytes, values: Sequence[Sequence[Any]]) -> str | None:
    """Return the first cell, such as C2, with a formula that no program has calculated; it would be read as empty."""
    import openpyxl

    if all(value is not None for row in values for value in row):
        return None
    sheet = openpyxl.load_workbook(io.BytesIO(data), read_only=True, keep_links=False).worksheets[0]
    sheet.reset_dimensions()
    for row, found in zip(sheet.iter_rows(), values, strict=False):
        for cell, value in zip(row, found, strict=False):
            if value is None and cell.data_type == "f":
                return str(cell.coordinate)
    return None


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    # Excel keeps whole numbers as fractions; 1e300 is nobody's id.
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _short(text: str, shown: int = _SHOWN_CHARACTERS) -> str:
    return text if len(text) <= shown else f"{text[:shown]}... ({len(text):,} characters)"


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
    numbers = labels[column].map(_whole_number)
    wrong = ~numbers.isin(range(task.num_classes))
    if wrong.any():
        found = [
            f"row {row} ({_short(name)}): {_short(value)!r}"
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
    numbers = labels[list(columns)].map(_whole_number)
    wrong = ~numbers.isin([0, 1])
    if wrong.any(axis=None):
        found = [
            f"row {labels['row'][row]} ({_short(labels[id_column][row])}), {column}: {_short(labels[column][row])!r}"
            for row, column in zip(*_where(wrong), strict=True)
        ]
        found = list(dict.fromkeys(found))  # a row of two eyes stands there twice
        raise DataError(f"{path}: labels must be 0 or 1; found {few(found)}")
    return [tuple(int(v) for v in row) for row in numbers.to_numpy()]


def _whole_number(text: str) -> int:
    """Return a whole number of up to nine digits; -1 for anything else."""
    found = _WHOLE.fullmatch(text)
    return int(found[1]) if found else -1


def _where(mask: pd.DataFrame) -> tuple[list[int], list[str]]:
    rows, columns = mask.to_numpy().nonzero()
    return [int(r) for r in rows], [str(mask.columns[int(c)]) for c in columns]


def without_suffix(name: str) -> str:
    """Return the name of a file without its last suffix; other dots belong to the name."""
    return name.removesuffix(PurePath(name).suffix)
