"""What a user decides about the rows of a data set (curation) and about its batches (loading)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retinai.config.sections import problems
from retinai.config.sections.data import Data
from retinai.errors import ConfigError


@dataclass(frozen=True)
class CurationSettings:
    """Which rows of a label table are used, and how they come to their parts.

    Args:
        folds: Number of folds; fold `fold` becomes the test part, and an official test part stays out.
        fold: Which fold is held out, from 0.
        val_fraction: Share that is cut off for validation.
        test_fraction: Share that is cut off for the test, where the owner gives none and there are no folds.
        split_seed: Seed of splits and folds, to keep them while `seed` changes; None: `seed`.
        split_file: A file of `write_splits` to follow instead.
        limit: A stratified subset of so many photographs per split.
        quality: Which photographs are trained on: `good`, or `usable` (good and usable); None: all. The other parts
            keep theirs, so that results stay comparable. Verdicts come from `FundusDataModule.use_judge`.
        on_bad_image: `error` lists all unreadable photographs; `skip` leaves them out and says so.
        extra_train: A folder of `retinai synthesize from=`, or several, whose photographs join the training part.
        near_duplicates: Also treat nearly identical photographs as one, not only identical files.

    Raises:
        ConfigError: With a sentence for each value that makes no sense.
    """

    folds: int | None = None
    fold: int = 0
    val_fraction: float = 0.15
    test_fraction: float = 0.15
    split_seed: int | None = None
    split_file: str | Path | None = None
    limit: int | None = None
    on_bad_image: str = "error"
    quality: str | None = None
    near_duplicates: bool = True
    extra_train: str | Path | Sequence[str | Path] | None = None

    def __post_init__(self) -> None:
        split_file = None if self.split_file is None else str(self.split_file)
        _refuse(vars(self) | {"split_file": split_file, "extra_train": self.extra_folders or None})

    @property
    def extra_folders(self) -> list[str]:
        """The folders of `extra_train`."""
        given = self.extra_train
        if given is None:
            return []
        return [str(given)] if isinstance(given, str | Path) else [str(folder) for folder in given]


@dataclass(frozen=True)
class LoadingSettings:
    """How samples become batches.

    Args:
        batch_size: Samples per batch and process.
        num_workers: Loader processes; `auto`: one per core but one, at most 4, none for small sets.
        sampler: `shuffle` or `weighted`, or a mapping with that `name`.
        augment: A mapping with `transforms`, a list of `{name, params}`; None for none.

    Raises:
        ConfigError: With a sentence for each value that makes no sense.
    """

    batch_size: int = 32
    num_workers: int | str = "auto"
    sampler: Mapping[str, Any] | str = "shuffle"
    augment: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        _refuse({"batch_size": self.batch_size, "num_workers": self.num_workers})


def _refuse(values: Mapping[str, Any]) -> None:
    """Hold values against what the `data` section declares."""
    found = problems(Data, dict(values), "data")
    if found:
        raise ConfigError(found)
