"""Several data sets as one: `data=[idrid,aptos]`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from retinai.config.build import build
from retinai.data.datamodule import FundusDataModule, SourceDataModule
from retinai.data.settings import CurationSettings
from retinai.data.sources.label_table import as_targets
from retinai.data.sources.source import Source
from retinai.errors import ConfigError, DataError
from retinai.tasks.known import UNLABELLED

# Decided once for all, by the data set that joins the others.
_JOINED = ("split_file", "limit", "extra_train")
_OF_LOADING = ("batch_size", "num_workers", "preprocess", "fields")


class SeveralSource(Source):
    """Photographs of several data sets.

    Each is read and split as it is alone, its official parts included; ids begin with its name (`idrid/...`), and
    `source` of the table is that name. Where all have the same task it is the task of the whole, with all labels.
    Otherwise there is no question that all were asked, so labels are left away: pre-training and embeddings need none.

    Args:
        name: Name of the whole.
        sources: The `data` section of each, by name.
        root: Not used; each has its own.
        cache: The cache folder.

    Raises:
        ConfigError: If there is none, or one is no data set.
    """

    paths_stay_below_root = False  # each source looks after its own

    def __init__(
        self,
        name: str = "several",
        sources: Mapping[str, Any] | None = None,
        root: str | None = None,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__(name, root, cache)
        if not sources:
            raise ConfigError(["data=several joins data sets; write data=[idrid,aptos]"])
        if root is not None:
            keys = ", ".join(f"data.sources.{one}.root=" for one in sources)
            raise ConfigError([f"data.root={root} is of no source; each has its own: {keys}"])
        self._sections = {str(one): self._own_part(section) for one, section in sources.items()}
        self._parts = {one: self._build(one, CurationSettings(), 0) for one in self._sections}
        tasks = [part.task for part in self._parts.values()]
        self._labelled = all(task == tasks[0] for task in tasks)
        self.task = tasks[0] if self._labelled else UNLABELLED
        if not self._labelled:
            asked = ", ".join(f"{one} {part.task.name}" for one, part in self._parts.items())
            self.why_unlabelled = f"the data sets ask different things: {asked}"

    def _own_part(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a section says of the data set itself; fields, loading and splits are those of the whole."""
        apart = {*_OF_LOADING, *(section.get("fields") or {}), *asdict(CurationSettings())}
        return {key: value for key, value in section.items() if key not in apart}

    def _build(self, one: str, curation: CurationSettings, seed: int) -> FundusDataModule:
        given = {key: value for key, value in asdict(curation).items() if key not in _JOINED}
        # Not trusted: a checkpoint names these classes too, and is read without a configuration.
        part = build(self._sections[one], FundusDataModule, **given, seed=seed, cache=str(self.cache_dir))
        part.source.root_key = f"data.sources.{one}.root"
        return part

    def split_by(self, curation: CurationSettings, seed: int) -> None:
        """Take what decides the parts of each data set; comes before its table is read."""
        self._parts = {one: self._build(one, curation, seed) for one in self._sections}

    @property
    def root(self) -> Path:
        """The folder in which all data sets lie, for messages."""
        return Path(os.path.commonpath([part.root for part in self._parts.values()]))

    def read_table(self) -> pd.DataFrame:
        """Return the rows of all, each with its part."""
        tables = []
        for one, part in self._parts.items():
            try:
                part.setup()
            except DataError as error:
                raise DataError(self._with_own_keys(one, str(error))) from error
            self.notes += [f"{one}: {note}" for note in part.notes]
            table = part.table
            names = [f"{one}/{name}" for name in table["id"]]
            known = [None if target is None else (target if self._labelled else 0) for target in table["target"]]
            patients = [f"{one}/{patient}" for patient in table["patient"]]
            tables.append(table.assign(id=names, patient=patients, source=one, target=as_targets(known).to_numpy()))
        if not self._labelled:
            self.notes.append(f"{self.why_unlabelled}; their labels are left away")
        return pd.concat(tables, ignore_index=True)

    def _with_own_keys(self, one: str, said: str) -> str:
        """Return what is said of a data set with the keys that it has here: `data.root` is `data.sources.ONE.root`."""
        keys = "|".join(re.escape(key) for key in self._sections[one])
        return re.sub(rf"(?<![\w./-])data\.(?=(?:{keys})\b)", f"data.sources.{one}.", said)

    def annotations(self) -> dict[str, dict[str, str]]:
        """Return the masks of all."""
        return {
            f"{one}/{name}": masks
            for one, part in self._parts.items()
            for name, masks in part.source.annotations().items()
        }

    def count_by_set(self, table: pd.DataFrame) -> dict[str, int]:
        """Return how many rows come from each data set."""
        counts = table["source"].value_counts()
        return {one: int(counts[one]) for one in self._parts if one in counts}


class SeveralDataModule(SourceDataModule):
    """Several data sets as a datamodule; options of `SeveralSource`, `CurationSettings` and `LoadingSettings`.

    Folds, shares and seeds hold for each data set by itself; what is then done with the whole (photographs that occur
    in two of them, `limit`, `split_file`) comes after.
    """

    source_class = SeveralSource

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        source: Any = self.source
        source.split_by(self.curation, self.seed)
        self.curation = replace(self.curation, folds=None, fold=0)
