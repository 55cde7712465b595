"""A data set composed of its parts: source, curation, loading, preprocessing and fields.

What happens between the owner's labels and the parts of a run is told in `curation.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import lightning
import pandas as pd

from retinai.data.curation import split_files, splits
from retinai.data.curation.curation import Curation
from retinai.data.curation.known_split import KnownSplit
from retinai.data.curation.quality_filter import Judge
from retinai.data.loading.dataset import FundusDataset
from retinai.data.loading.fields import FieldContext, SampleField, by_name
from retinai.data.loading.loader import EpochLoader, make_loader
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.settings import CurationSettings, LoadingSettings
from retinai.data.sources.label_table import SPLITS, check_files, check_paths, check_table
from retinai.data.sources.source import Source
from retinai.errors import ConfigError, DataError, DataFileError
from retinai.tasks.task import Task


class FundusDataModule(lightning.LightningDataModule):
    """A data set of retinal photographs with checked labels, splits and loaders.

    Args:
        source: Where labels and annotations are read.
        preprocessing: How a photograph becomes the input (`Preprocessing` or its dict).
        curation: Which rows are used, and how they are split.
        loading: How samples become batches.
        fields: What samples carry besides photograph and label.
        seed: Seed of splits, order and augmentation.

    Attributes:
        task: The task, known before `setup`.
        table: The label table with the final split; after `setup`.
        left_out: Rows that are not used, with the reason in `note`.
        class_counts: Training photographs per class.
        fingerprint: Hash of ids, targets, splits and file contents.
        notes: Sentences about what was found and done.
    """

    def __init__(
        self,
        source: Source,
        *,
        preprocessing: Mapping[str, Any] | Preprocessing | None = None,
        curation: CurationSettings | None = None,
        loading: LoadingSettings | None = None,
        fields: Sequence[SampleField] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.name: str = source.name
        self.curation = curation or CurationSettings()
        self.loading = loading or LoadingSettings()
        self.seed = seed
        self.notes = source.notes  # what is found while reading the labels comes first
        self._preprocessing = preprocessing
        self._fields = by_name(fields)
        self._bound: dict[str, SampleField] = {}
        self._ready = False
        self._known_split: KnownSplit | None = None
        self._judge: Judge | None = None

    @property
    def task(self) -> Task:
        """What is asked of the photographs."""
        return self.source.task

    @property
    def root(self) -> Path:
        """The data set's folder.

        Raises:
            DataError: If it is not given or does not exist.
        """
        return self.source.root

    @property
    def cache_dir(self) -> Path:
        """Folder of prepared photographs and file fingerprints."""
        return self.source.cache_dir

    @property
    def batch_size(self) -> int:
        """Samples per batch and process."""
        return self.loading.batch_size

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        self.loading = replace(self.loading, batch_size=value)

    @property
    def preprocessing(self) -> Preprocessing:
        """How a photograph becomes the input.

        Raises:
            ConfigError: If it was not given.
        """
        if self._preprocessing is None:
            raise ConfigError(["the datamodule was built without preprocessing=, which loading photographs needs"])
        if isinstance(self._preprocessing, Mapping):
            self._preprocessing = Preprocessing.from_dict(dict(self._preprocessing))
        return self._preprocessing

    # From the owner's labels to the table of a run.

    def setup(self, stage: str | None = None) -> None:
        """Read, check and split; does nothing the second time.

        Raises:
            DataError: If the labels, files or splits cannot be used.
        """
        if self._ready:
            return
        try:
            self._curate()
        except DataFileError as error:
            raise self.source.explained(error) from error
        shared = splits.shared_patients(self.table)
        if shared:
            self.notes.append(f"{shared} patients occur in more than one of train, val and test")
        self._ready = True
        self._bind([*self.source.fields(), *self._fields.values()])

    def _curate(self) -> None:
        """Read and check the labels, look at the files, and make the parts."""
        table = self.checked_table()
        check_files(table, self.root)
        self._curation = Curation(
            name=str(self.name),
            root=self.root,
            task=self.task,
            cache_dir=self.cache_dir,
            settings=self.curation,
            seed=self.seed,
            known=self._known_split,
            judge=self._judge,
            notes=self.notes,
        )
        self.table = self._curation.curate(table)
        self.class_counts = self._curation.class_counts(self.table)
        self.fingerprint = self._curation.fingerprint(self.table)

    def check_training(self) -> None:
        """Refuse a training part that lacks a class; what is only predicted or measured may lack some.

        Raises:
            DataError: If a class has no photograph in `train` and `limit` is not set.
        """
        self.setup()
        self._curation.check_training(self.class_counts)

    def checked_table(self) -> pd.DataFrame:
        """Return the owner's label table, checked, before files are looked at and parts are made.

        Raises:
            DataError: If the table cannot be used, or names photographs outside the root.
        """
        source = self.source
        table = source.read_table()
        table = check_table(table, source.task, source.label_file)
        if source.paths_stay_below_root:
            check_paths(table, source.root, source.label_file)
        return table

    def follow(self, known: KnownSplit) -> None:
        """Follow the split of a training instead of `folds` and `split_file`; comes before `setup`."""
        if self._ready:
            raise RuntimeError("the split was made already")
        self._known_split = known

    def use_judge(self, judge: Judge) -> None:
        """Let somebody judge the quality of photographs, for `quality=`; comes before `setup`."""
        if self._ready:
            raise RuntimeError("the split was made already")
        self._judge = judge

    def known_split(self) -> KnownSplit:
        """Return the part of every photograph, also of those left out, as a checkpoint keeps it."""
        self.setup()
        rows = pd.concat([self.table, self.left_out])
        return KnownSplit.of_ids(rows["id"], rows["split"])

    @property
    def left_out(self) -> pd.DataFrame:
        """Rows of the owner's table that are not used, with the reason in `note`."""
        return self._curation.left_out()

    def split_table(self, split: str) -> pd.DataFrame:
        """Return the rows of a split.

        Raises:
            DataError: If the split is unknown or empty.
        """
        if split not in SPLITS:
            raise DataError(f"split {split!r} is unknown (valid: {', '.join(SPLITS)})")
        self.setup()
        table = self.table[self.table["split"] == split].reset_index(drop=True)
        if table.empty:
            there = [s for s in SPLITS if (self.table["split"] == s).any()]
            mend = "; with data.split_file= give it some" if self.curation.split_file is not None else ""
            raise DataError(f"{self.name} has no photographs in split {split!r}; it has {', '.join(there)}{mend}")
        return table

    def contents(self, split: str, label: int | None = None) -> list[tuple[str, str]]:
        """Return content hash (SHA-256) and perceptual hash of the photographs of a part, hex.

        Args:
            split: The part.
            label: Number of a class that they have; None: all.
        """
        self.setup()
        return self._curation.contents(self.table[self.table["split"] == split], label)

    def write_splits(self, path: str | Path) -> None:
        """Write every photograph's split to CSV, those left out too; `split_file=` reads it back."""
        self.setup()
        rows = pd.concat([self.table.assign(note=""), self.left_out])
        split_files.write_splits(path, self._curation.in_owners_order(rows), self.task)

    # What samples carry.

    def use_fields(self, fields: Sequence[SampleField]) -> None:
        """Let samples carry more; a field of a name that is there already takes its place.

        Args:
            fields: What a module asks for, such as `module.fields()`; bound to this data set once its table is known.

        Raises:
            UserError: If the data set is set up already and cannot give what a field needs.
        """
        self._fields |= by_name(fields)
        if self._ready:
            self._bind(fields)

    @property
    def fields(self) -> list[SampleField]:
        """What samples carry besides photograph and label, bound to this data set."""
        self.setup()
        return list(self._bound.values())

    @property
    def context(self) -> FieldContext:
        """What fields are bound to."""
        self.setup()
        return FieldContext(self.source, self.table, self.preprocessing, self.cache_dir)

    def _bind(self, fields: Sequence[SampleField]) -> None:
        """Bind fields at once, so that what does not fit is told before a run folder is made."""
        if self._preprocessing is not None:  # else nothing can be loaded anyway
            self._bound |= {field.name: field.bind(self.context) for field in fields}

    # Batches.

    def dataset(self, split: str) -> FundusDataset:
        """Return the data set of a split; only `train` is augmented.

        Raises:
            DataError: If the split is unknown or empty.
        """
        from retinai.data.loading.augmentation import build_augmentation
        from retinai.data.photographs.cache import PreparedCache

        table = self.split_table(split)
        if split == "predict":
            table = self._curation.drop_bad_images(table)
        return FundusDataset(
            table,
            self.preprocessing,
            cache=PreparedCache(self.cache_dir, self.preprocessing),
            augmentation=build_augmentation(self.loading.augment) if split == "train" else None,
            seed=self.seed,
            fields=[field for field in self.fields if split in field.splits],
        )

    def loader(self, split: str) -> EpochLoader:
        """Return the loader of a split: `train` sampled and augmented, the others in table order."""
        return make_loader(
            self.dataset(split),
            self.task,
            batch_size=self.batch_size,
            num_workers=self.loading.num_workers,
            sampler=self.loading.sampler if split == "train" else None,
            seed=self.seed,
        )

    def train_dataloader(self) -> EpochLoader:
        """Return the training loader; keep it to step through epochs with `loader.sampler.set_epoch`."""
        return self.loader("train")

    def val_dataloader(self) -> EpochLoader:
        """Return the validation loader."""
        return self.loader("val")

    def test_dataloader(self) -> EpochLoader:
        """Return the test loader."""
        return self.loader("test")

    def predict_dataloader(self) -> EpochLoader:
        """Return the loader of the unlabelled photographs."""
        return self.loader("predict")


class SourceDataModule(FundusDataModule):
    """Base of the public datamodules: a source, and the options of all parts side by side, as a configuration has them.

    A subclass names its `source_class`. Its constructor takes the arguments of that class, then those of
    `CurationSettings` and `LoadingSettings`, `preprocessing`, `fields` and `seed`; its signature shows them all.
    """

    source_class: ClassVar[type[Source]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Show the options of all parts, so that keys can be checked."""
        super().__init_subclass__(**kwargs)
        own = inspect.signature(cls.source_class).parameters.values()
        parts = [*_parameters(CurationSettings), *_parameters(LoadingSettings), *_parameters(FundusDataModule)]
        more = [p.replace(kind=p.KEYWORD_ONLY) for p in parts if p.name not in ("source", "curation", "loading")]
        cls.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **options: Any) -> None:
        given = inspect.signature(type(self)).bind(*args, **options).arguments
        source = self.source_class(**_take(given, self.source_class))
        settings: dict[str, Any] = {}
        problems: list[str] = []
        for name, part in (("curation", CurationSettings), ("loading", LoadingSettings)):
            try:
                settings[name] = part(**_take(given, part))
            except ConfigError as error:  # all parts are looked at, so that everything is told at once
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        super().__init__(source, **settings, **given)


def _parameters(of: type) -> list[inspect.Parameter]:
    return list(inspect.signature(of).parameters.values())


def _take(options: dict[str, Any], of: type) -> dict[str, Any]:
    """Take the options of one part out of all."""
    return {p.name: options.pop(p.name) for p in _parameters(of) if p.name in options}
