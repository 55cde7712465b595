"""A source: where an owner's labels are read. Splits, duplicates, caches and loading are not its business."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from retinai.csv_cells import is_utf8, to_cell
from retinai.errors import DataError, DataFileError

if TYPE_CHECKING:
    import pandas as pd

    from retinai.data.loading.fields import SampleField
    from retinai.tasks.task import Task


class Source(ABC):
    """The labels and annotations of one data set, as its owner gives them.

    Args:
        name: Name of the data set, as in run folders.
        root: The owner's folder; a relative one counts from the working directory. None: not known.
        cache: The cache folder, for what reading has to keep; None: RETINAI_CACHE, or `outputs/cache`.

    Attributes:
        task: What is asked of its photographs.
        root_key: The key that gives the root, to name in messages.
        label_file: The file to name in messages; `read_table` sets it.
        notes: Sentences about what was found while reading.
        why_unlabelled: Why there are no labels although there could be some, for messages.
    """

    root_variable: ClassVar[str] = ""
    # Whether the table's names may only lead to photographs below the root.
    paths_stay_below_root: ClassVar[bool] = True
    task: Task
    # Task of each of `columns()` that is a target of one.
    column_tasks: ClassVar[Mapping[str, Task]] = {}

    def __init__(self, name: str, root: str | None = None, cache: str | Path | None = None) -> None:
        self.name = name
        self.given_root = root
        self.root_key = "data.root"
        self.cache_dir = Path(cache if cache is not None else os.environ.get("RETINAI_CACHE", "outputs/cache"))
        self.label_file = name
        self.notes: list[str] = []
        self.why_unlabelled = ""

    @abstractmethod
    def read_table(self) -> pd.DataFrame:
        """Return the label table as the owner gives it, and set `label_file` for messages.

        Returns:
            Columns `retinai.data.sources.label_table.COLUMNS`, and `row` (line in the owner's file) where known.

        Raises:
            DataError: If the labels cannot be read.
        """

    def annotations(self) -> dict[str, dict[str, str]]:
        """Return the mask files of annotated photographs, {id: {name: file}}; what is absent has no file.

        An id that is not here was not annotated.
        """
        return {}

    def columns(self) -> pd.DataFrame:
        """Return what else the owner says of each photograph, for probes: a column each, texts, with ids as the index.

        An empty cell means that it is not known. `column_tasks` tells the task of a column that holds grades.
        """
        import pandas as pd

        return pd.DataFrame()

    def count_by_set(self, table: pd.DataFrame) -> dict[str, int]:
        """Return how many rows of a label table come from which data set: all from this one, unless it joins several.

        Args:
            table: Rows of its label table.
        """
        return {self.name: len(table)}

    def explained(self, error: DataFileError) -> DataError:
        """Return what is told of a missing or damaged file of this data set."""
        return error

    def fields(self) -> list[SampleField]:
        """Return what the samples of this data set carry, whatever module reads them."""
        return []

    @property
    def root(self) -> Path:
        """The data set's folder.

        Raises:
            DataError: If it is not given or does not exist.
        """
        variable = f" or the environment variable {self.root_variable}" if self.root_variable else ""
        if not self.given_root:
            raise DataError(f"the folder of {self.name} is not known; set {self.root_key}=FOLDER{variable}")
        root = Path(self.given_root).expanduser().absolute()
        if not is_utf8(str(root)):
            raise DataError(f"the folder {to_cell(str(root))} of {self.name} has a name that is not UTF-8; rename it")
        if not root.is_dir():
            what = "is no folder" if root.exists() else "does not exist"
            raise DataError(f"the folder {root} of {self.name} {what}; set {self.root_key}=FOLDER{variable}")
        return root
