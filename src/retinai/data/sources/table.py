"""Anybody's own table: photographs, patients, eyes, parts and labels in a CSV or Parquet file, columns by name."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from retinai.data.datamodule import SourceDataModule
from retinai.data.sources.label_files import read_labels
from retinai.data.sources.label_table import as_targets, few
from retinai.data.sources.leaks import leak_note
from retinai.data.sources.own_labels import LabelSettings, check_class_names, number_task, own_task
from retinai.data.sources.source import Source
from retinai.errors import ConfigError, DataError, UserError
from retinai.files import MAX_TEXT_BYTES, UnreadableError, read_regular
from retinai.tasks.known import UNLABELLED
from retinai.tasks.multilabel import MultilabelTask
from retinai.tasks.task import Task

NAMES = ("id", "path", "target", "patient", "eye", "split")
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
           "test": "test", "testing": "test", "predict": "predict", "": ""}  # fmt: skip
_EYES = {"left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right", "": ""}
_SUFFIXES = ("", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".JPG", ".JPEG", ".PNG", ".TIF")


class TableSource(Source):
    """Photographs and labels as a table names them, a row per photograph.

    Args:
        name: Name of the data set.
        file: A `.csv`, `.xlsx` or `.parquet` file.
        root: The folder that paths count from; None: that of the table.
        columns: Which column is `id`, `path`, `target`, `patient`, `eye`, `split`. Unless given, a column of that very
            name is taken if there is one. Without ids a photograph is named by its path, without paths its file by its
            id. Several columns of 0 and 1 as `target` are labels of which any number may hold.
        kind: See `LabelSettings`.
        classes: See `LabelSettings`.
        referable_from: See `LabelSettings`.
        prevalence: See `LabelSettings`.
        cache: The cache folder.

    Raises:
        ConfigError: If no file is given, or a column or class cannot be.
        DataError: If the table cannot be read, or holds no labels.
    """

    def __init__(
        self,
        name: str = "table",
        file: str | None = None,
        root: str | None = None,
        columns: Mapping[str, Any] | None = None,
        kind: str = "auto",
        classes: Sequence[str] | None = None,
        referable_from: int | None = None,
        prevalence: float | None = None,
        cache: str | Path | None = None,
    ) -> None:
        if file is None:
            raise ConfigError(["data=table needs data.file=, the table of photographs and labels"])
        self.file = Path(file).expanduser().absolute()
        super().__init__(name, root if root is not None else str(self.file.parent), cache)
        self.label_file = str(self.file)
        unknown = [key for key in columns or {} if key not in NAMES]
        if unknown:
            raise ConfigError([f"data.columns.{unknown[0]} is unknown; valid: {', '.join(NAMES)}"])
        self._given = {key: value for key, value in (columns or {}).items() if value is not None}
        self._settings = LabelSettings(kind, classes, referable_from, prevalence)
        self._several = not isinstance(self._given.get("target", ""), str)
        cells = [self._cells(column) for column in self._targets]
        if not self._settings.labelled:
            self.task: Task = UNLABELLED
        elif self._several and self._settings.kind == "number":
            raise ConfigError(["data.kind=number learns one column; name one with data.columns.target="])
        elif self._several:
            check_class_names(self._targets, f"{self.file}: data.columns.target")
            self.task = MultilabelTask(name, tuple(self._targets))
            self._target_of: dict[str, Any] = {"0": 0, "1": 1}
            self._check_labels(cells)
        else:
            values = [value for value in cells[0] if value != ""]
            self.task, found = self._task_of(values)
            self._target_of = dict(found)

    @cached_property
    def _table(self) -> pd.DataFrame:
        """The rows as text, and `row`."""
        wanted = [name for value in self._given.values() for name in ([value] if isinstance(value, str) else value)]
        if self.file.suffix.lower() == ".parquet":
            return _read_parquet(self.file, wanted)
        return read_labels(self.file, wanted)

    def _column(self, key: str) -> str | None:
        return self._given.get(key, key if key in self._table else None)

    @property
    def _targets(self) -> list[str]:
        if not self._settings.labelled:
            return []
        given = self._column("target")
        if given is None:
            columns = ", ".join(str(c) for c in self._table if c != "row")
            raise DataError(f"{self.file} has no column 'target'; name it with data.columns.target= (found: {columns})")
        return [given] if isinstance(given, str) else list(given)

    def _cells(self, column: str) -> list[str]:
        return [_plain(cell) for cell in self._table[column]]

    def _task_of(self, values: list[str]) -> tuple[Task, Mapping[str, Any]]:
        """Return the task that the values of the target column make, and the target of each."""
        column = self._targets[0]
        where = f"{self.file}: column {column}"
        if self._settings.kind == "number":
            return number_task(self.name, column, values, where)
        self._check_alike(values)
        return own_task(self.name, values, self._settings, where)

    def _check_alike(self, values: list[str]) -> None:
        """Refuse a column that names the photographs instead of their classes."""
        alike = len(set(values)) < len(values) or len(values) < 3 or all(value.isdigit() for value in values)
        if not alike and self._settings.classes is None:
            raise DataError(
                f"{self.file}: column {self._targets[0]} holds {len(values)} values ({few(values)}), no two alike, so "
                "they are no classes; name another one with data.columns.target="
            )

    def _check_labels(self, cells: list[list[str]]) -> None:
        for column, values in zip(self._targets, cells, strict=True):
            wrong = sorted(set(values) - {"0", "1", ""})
            if wrong:
                raise DataError(
                    f"{self.file}: column {column} is one of several labels and holds {few(wrong)}, not 0 or 1"
                )

    def columns(self) -> pd.DataFrame:
        """Return the columns that are no names and parts of photographs."""
        used = {self._column(key) for key in ("id", "path", "split") if self._column(key)} | {"row"}
        return self._table[[c for c in self._table if c not in used]].set_axis(pd.Index(self._ids()), axis=0)

    def read_table(self) -> pd.DataFrame:
        """Return the photographs of the table; those without a label are the `predict` split."""
        ids = self._ids()
        targets = self._target_values()
        patients, eyes, splits = (self._optional(key) for key in ("patient", "eye", "split"))
        table = pd.DataFrame(
            {
                "id": ids,
                "path": self._paths(ids),
                "target": as_targets(targets),
                "patient": [p or name for p, name in zip(patients, ids, strict=True)],
                "eye": self._words(eyes, _EYES, "eye"),
                "split": self._words(splits, _SPLITS, "split"),
                "source": self.file.name,
                "row": self._table["row"].tolist(),
            }
        )
        table.loc[[t is None for t in targets], "split"] = "predict"
        self._check_names(table)
        self._tell_leaks(targets)
        return table

    def _ids(self) -> list[str]:
        column = self._column("id")
        if column is not None:
            return self._cells(column)
        path = self._column("path")
        if path is None:
            raise DataError(
                f"{self.file} has no column 'id' and none 'path'; name one with data.columns.id= or data.columns.path="
            )
        return [str(Path(cell).with_suffix("").as_posix()) for cell in self._cells(path)]

    def _paths(self, ids: list[str]) -> list[str]:
        column = self._column("path")
        if column is not None:
            cells = self._cells(column)
            if "" in cells:
                raise DataError(
                    f"{self.file}: {cells.count('')} rows have no {column} (first: row "
                    f"{self._table['row'].tolist()[cells.index('')]}); name their photographs, or leave them out"
                )
            return [str(self.root / cell) for cell in cells]
        found = []
        for name in ids:
            there = (f"{self.root / name}{suffix}" for suffix in _SUFFIXES)
            found.append(next((path for path in there if os.path.isfile(path)), str(self.root / name)))  # noqa: PTH113
        return found

    def _target_values(self) -> list[Any]:
        if not self._settings.labelled:
            return [0] * len(self._table)
        cells = list(zip(*(self._cells(column) for column in self._targets), strict=True))
        if self._several:
            return [None if "" in row else tuple(int(cell) for cell in row) for row in cells]
        return [None if cell == "" else self._target_of[cell] for (cell,) in cells]

    def _optional(self, key: str) -> list[str]:
        column = self._column(key)
        return [""] * len(self._table) if column is None else self._cells(column)

    def _words(self, cells: list[str], known: Mapping[str, str], key: str) -> list[str]:
        unknown = sorted({cell for cell in cells if cell.lower() not in known})
        if unknown:
            valid = ", ".join(word for word in known if word)
            raise DataError(f"{self.file}: column {self._column(key)} holds {few(unknown)}; {key} is one of: {valid}")
        return [known[cell.lower()] for cell in cells]

    def _check_names(self, table: pd.DataFrame) -> None:
        """Refuse a name that two different files have."""
        files = table.groupby("id")["path"].nunique()
        twice = [str(name) for name in files.index[files > 1]]
        if twice:
            raise DataError(
                f"{self.file}: {len(twice)} names stand for two different photographs ({few(twice)}); give each its "
                "own, or leave the column id away, so that photographs are named by their paths"
            )

    def _tell_leaks(self, targets: list[Any]) -> None:
        """Note each column that tells the target, or a question on it, by itself."""
        own = {self._column("patient"), *self._targets}
        for column in self.columns():
            cells = [_plain(cell) for cell in self._table[column]]
            if column not in own and (note := leak_note(str(column), cells, targets, self.task)):
                self.notes.append(note)


class TableDataModule(SourceDataModule):
    """One's own table as a datamodule; options of `TableSource`, `CurationSettings` and `LoadingSettings`."""

    source_class = TableSource


def _plain(cell: Any) -> str:
    """Return a cell as text; whole numbers as other programs write them (2.0) without their fraction."""
    text = str(cell).strip()
    whole, point, rest = text.partition(".")
    return whole if point and whole.isdigit() and not rest.strip("0") else text


def _read_parquet(file: Path, wanted: Sequence[str]) -> pd.DataFrame:
    if find_spec("pyarrow") is None:
        raise UserError(f"{file} needs pyarrow (pip install pyarrow); or write the table as CSV")
    try:
        data = read_regular(file, MAX_TEXT_BYTES)
    except UnreadableError as error:
        if error.reason == "no such file":
            raise DataError(f"{file} does not exist; check data.file") from error
        raise DataError(f"the table {file} cannot be used: {error.reason}; put the right file there") from error
    try:
        table = pd.read_parquet(io.BytesIO(data))
    except Exception as error:  # Arrow's words for a damaged file are many
        raise DataError(f"{file} is damaged or no Parquet file; write it again") from error
    missing = [name for name in wanted if name not in table]
    if missing:
        raise DataError(f"{file}: column {few(missing)} is missing; found: {', '.join(map(str, table.columns))}")
    texts = table.astype(object).where(table.notna(), "").map(str)
    return texts.assign(row=range(1, len(texts) + 1))
