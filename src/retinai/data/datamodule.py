"""The base of all datamodules: a subclass reads its owner's labels, everything else happens here.

What happens between the owner's labels and the parts of a run is told in `curation.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning
import pandas as pd

from retinai.config.build import show_base_options
from retinai.csv_cells import is_utf8, to_cell
from retinai.data.curation import split_files, splits
from retinai.data.curation.curation import Curation
from retinai.data.curation.known_split import KnownSplit
from retinai.data.loading.dataset import FundusDataset
from retinai.data.loading.fields import SampleField
from retinai.data.loading.loader import EpochLoader, make_loader
from retinai.data.masks import check_masks
from retinai.data.options import option_problems
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.photographs.views import check_views
from retinai.data.sources.label_table import SPLITS, check_files, check_paths, check_table
from retinai.errors import ConfigError, DataError
from retinai.lesions.findings import Findings, FindingsField
from retinai.lesions.measured import measure_files
from retinai.tasks.task import Task
from retinai.topology.field import TopologyField
from retinai.topology.persistence import engine
from retinai.topology.settings import TopologySettings


class FundusDataModule(lightning.LightningDataModule):
    """A data set of retinal photographs with checked labels, splits and loaders.

    Args:
        name: Name of the data set, as in run folders.
        root: The owner's folder; a relative one counts from the working directory. None: the folder that
            the environment variable of the data set names.
        preprocessing: How a photograph becomes the input (`Preprocessing` or its dict).
        batch_size: Samples per batch and process.
        num_workers: Loader processes; `auto`: one per core but one, at most 4, none for small sets.
        seed: Seed of splits, order and augmentation.
        cache: Folder of prepared photographs and file fingerprints.
        sampler: `shuffle` or `weighted`, or a mapping with that `name`.
        augment: A mapping with `transforms`, a list of `{name, params}`; None for none.
        folds: Number of folds; fold `fold` becomes the test part, and an official test part stays out.
        fold: Which fold is held out, from 0.
        val_fraction: Share that is cut off for validation.
        test_fraction: Share that is cut off for the test, where the owner gives none and there are no folds.
        split_seed: Seed of splits and folds, to keep them while `seed` changes; None: `seed`.
        split_file: A file of `write_splits` to follow instead.
        limit: A stratified subset of so many photographs per split.
        on_bad_image: `error` lists all unreadable photographs; `skip` leaves them out and says so.
        near_duplicates: Also treat nearly identical photographs as one, not only identical files.
        findings: Batches carry the `findings` of the lesion masks, None where nothing is annotated.
        views: How other networks (teachers) want to see the photographs of `train`: `Preprocessing` or its dict.
        topology: Batches carry persistence images: `TopologySettings` or its dict; None for none.
        fields: What the batches of `train` carry besides (what teachers take).

    Attributes:
        task: The task, known before `setup`.
        table: The label table with the final split; after `setup`.
        left_out: Rows that are not used, with the reason in `note`.
        class_counts: Training photographs per class.
        fingerprint: Hash of ids, targets, splits and file contents.
        notes: Sentences about what was found and done.
    """

    root_variable: ClassVar[str] = ""
    # Whether the table's names may only lead to photographs below the root.
    paths_stay_below_root: ClassVar[bool] = True
    task: Task

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let a subclass that takes `**options` show the options of the base too, so that keys can be checked."""
        super().__init_subclass__(**kwargs)
        show_base_options(cls)

    def __init__(
        self,
        name: str,
        root: str | None = None,
        preprocessing: Mapping[str, Any] | Preprocessing | None = None,
        batch_size: int = 32,
        num_workers: int | str = "auto",
        seed: int = 0,
        cache: str | Path | None = None,
        sampler: Mapping[str, Any] | str = "shuffle",
        augment: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        folds: int | None = None,
        fold: int = 0,
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        split_seed: int | None = None,
        split_file: str | None = None,
        limit: int | None = None,
        on_bad_image: str = "error",
        near_duplicates: bool = True,
        findings: bool = False,
        views: Sequence[Mapping[str, Any] | Preprocessing] | None = None,
        topology: Mapping[str, Any] | TopologySettings | None = None,
        fields: Sequence[SampleField] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self._root = root
        self._preprocessing = preprocessing
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.cache_dir = Path(cache if cache is not None else os.environ.get("RETINAI_CACHE", "outputs/cache"))
        self.sampler = sampler
        self.augment = augment
        self.folds, self.fold = folds, fold
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.split_seed = seed if split_seed is None else split_seed
        self.split_file = split_file
        self.limit = limit
        self.on_bad_image = on_bad_image
        self.near_duplicates = near_duplicates
        self.findings = findings
        self.views = [v if isinstance(v, Preprocessing) else Preprocessing.from_dict(dict(v)) for v in views or ()]
        if self.views:
            check_views(self.preprocessing, self.views)
        self.topology = TopologySettings.from_dict(topology) if isinstance(topology, Mapping) else topology
        self.fields = list(fields or ())
        if self.topology is not None:
            engine()  # missing gudhi is told before photographs are read
        self.notes: list[str] = []
        self.label_file: str = name
        self._ready = False
        self._known_split: KnownSplit | None = None
        self._measured: dict[str, Findings] | None = None
        problems = option_problems(self)
        if problems:
            raise ConfigError(problems)

    # What a subclass gives.

    def read_table(self) -> pd.DataFrame:
        """Return the label table as the owner gives it, and set `label_file` for messages."""
        raise NotImplementedError

    def lesion_masks(self) -> dict[str, dict[str, str]]:
        """Return the mask files of annotated photographs, {id: {lesion: path}}; a lesion without a file is absent."""
        return {}

    # What a subclass and others use.

    @property
    def plan(self) -> splits.SplitPlan:
        """How photographs come to a part where the owner does not say."""
        return splits.SplitPlan(
            self.task,
            self.split_seed,
            self.folds,
            self.fold,
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
        )

    @property
    def root(self) -> Path:
        """The data set's folder.

        Raises:
            DataError: If it is not given or does not exist.
        """
        variable = f" or the environment variable {self.root_variable}" if self.root_variable else ""
        if not self._root:
            raise DataError(f"the folder of {self.name} is not known; set data.root=FOLDER{variable}")
        root = Path(self._root).expanduser().absolute()
        if not is_utf8(str(root)):
            raise DataError(f"the folder {to_cell(str(root))} of {self.name} has a name that is not UTF-8; rename it")
        if not root.is_dir():
            raise DataError(f"the folder {root} of {self.name} does not exist; set data.root=FOLDER{variable}")
        return root

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

    def setup(self, stage: str | None = None) -> None:
        """Read, check and split; does nothing the second time.

        Raises:
            DataError: If the labels, files or splits cannot be used.
        """
        if self._ready:
            return
        table = self.checked_table()
        check_files(table, self.root)
        self._curation = Curation(
            name=str(self.name),
            root=self.root,
            task=self.task,
            cache_dir=self.cache_dir,
            plan=self.plan,
            folds=self.folds,
            split_file=self.split_file,
            limit=self.limit,
            on_bad_image=self.on_bad_image,
            near_duplicates=self.near_duplicates,
            known=self._known_split,
            notes=self.notes,  # what was found while reading the labels comes first
        )
        self.table = self._curation.curate(table)
        self.class_counts = self._curation.class_counts(self.table)
        self.fingerprint = self._curation.fingerprint(self.table)
        shared = splits.shared_patients(self.table)
        if shared:
            self._curation.notes.append(f"{shared} patients occur in more than one of train, val and test")
        self._ready = True
        if self.findings:
            self.measured_findings()  # masks that do not fit are told before a run folder is made

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
        table = check_table(self.read_table(), self.task, self.label_file)
        if self.paths_stay_below_root:
            check_paths(table, self.root, self.label_file)
        return table

    def follow(self, known: KnownSplit) -> None:
        """Follow the split of a training instead of `folds` and `split_file`; comes before `setup`."""
        if self._ready:
            raise RuntimeError("the split was made already")
        self._known_split = known

    def known_split(self) -> KnownSplit:
        """Return the part of every photograph, also of those left out, as a checkpoint keeps it."""
        self.setup()
        rows = pd.concat([self.table, self.left_out])
        return KnownSplit.of_ids(rows["id"], rows["split"])

    @property
    def left_out(self) -> pd.DataFrame:
        """Rows of the owner's table that are not used, with the reason in `note`."""
        return self._curation.left_out()

    def dataset(self, split: str) -> FundusDataset:
        """Return the data set of a split; only `train` is augmented.

        Raises:
            DataError: If the split is unknown or empty.
        """
        self.setup()
        table = self.split_table(split)
        if split == "predict":
            table = self._curation.drop_bad_images(table)
        return FundusDataset(table, self.preprocessing, **self._dataset_options(split))

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
            mend = "; with data.split_file= give it some" if self.split_file is not None else ""
            raise DataError(f"{self.name} has no photographs in split {split!r}; it has {', '.join(there)}{mend}")
        return table

    def _dataset_options(self, split: str) -> dict[str, Any]:
        from retinai.data.photographs.cache import PreparedCache

        augmentation = None
        if split == "train" and self.augment:
            from retinai.data.loading.augmentation import build_augmentation

            augmentation = build_augmentation(self.augment)
        views = self.views if split == "train" else []
        cache = PreparedCache(self.cache_dir, self.preprocessing)
        options: dict[str, Any] = {"cache": cache, "augmentation": augmentation, "seed": self.seed}
        return options | {"fields": self._fields_of(split), "views": views}

    def make_fields(self) -> list[SampleField]:
        """Return what samples carry besides photograph and label; a subclass with more to tell adds to it."""
        fields: list[SampleField] = [FindingsField(self.measured_findings())] if self.findings else []
        if self.topology is not None:
            fields.append(TopologyField(self.topology, self.cache_dir, self.preprocessing))
        return fields

    def _fields_of(self, split: str) -> list[SampleField]:
        return [*self.make_fields(), *(self.fields if split == "train" else [])]

    def measured_findings(self) -> dict[str, Findings]:
        """Return the findings of the annotated photographs, measured on their masks once per content.

        Returns:
            {id: findings}; ids that are not here are not annotated.

        Raises:
            BadImageError: If a mask cannot be read.
            DataError: If a mask does not fit its photograph, or the masks are not there.
        """
        self.setup()
        if self._measured is None:
            paths = dict(zip(self.table["id"], self.table["path"], strict=True))
            self._measured = measure_files(check_masks(self.lesion_masks(), paths), paths, self.cache_dir)
        return self._measured

    def loader(self, split: str) -> EpochLoader:
        """Return the loader of a split: `train` sampled and augmented, the others in table order."""
        return make_loader(
            self.dataset(split),
            self.task,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            sampler=self.sampler if split == "train" else None,
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

    def write_splits(self, path: str | Path) -> None:
        """Write every photograph's split to CSV, those left out too; `split_file=` reads it back."""
        self.setup()
        rows = pd.concat([self.table.assign(note=""), self.left_out])
        split_files.write_splits(path, self._curation.in_owners_order(rows), self.task)
