"""The synthetic cohort as a data set: written once into the cache folder, then read like an owner's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from retinai.data.datamodule import SourceDataModule
from retinai.data.sources.aptos import AptosSource
from retinai.data.sources.brset import BrsetSource
from retinai.data.sources.ddr import DdrSource
from retinai.data.sources.eyepacs import EyepacsSource
from retinai.data.sources.idrid import IdridSource
from retinai.data.sources.messidor2 import Messidor2Source
from retinai.data.sources.odir import OdirSource
from retinai.data.sources.source import Source
from retinai.errors import ConfigError, DataError, DataFileError, UserError
from retinai.output_folders import remove_leftovers

# The source that reads a layout, and its options for it.
_READERS: dict[str, tuple[type[Source], dict[str, str]]] = {
    "aptos": (AptosSource, {}),
    "idrid": (IdridSource, {}),
    "odir": (OdirSource, {"layout": "official"}),
    "odir_kaggle": (OdirSource, {"layout": "kaggle"}),
    "odir_course": (OdirSource, {"layout": "course"}),
    "eyepacs": (EyepacsSource, {}),
    "messidor2": (Messidor2Source, {}),
    "ddr": (DdrSource, {}),
    "brset": (BrsetSource, {}),
}


class SyntheticSource(Source):
    """Synthetic photographs in an owner's layout, read by that owner's source.

    Args:
        name: Name of the data set.
        layout: An owner's, such as `aptos`; see `retinai.synthetic.cohort.LAYOUTS`.
        n: Number of labelled photographs.
        size: Side of a photograph in pixels.
        cohort_seed: Seed of the photographs; `seed` decides split, order and augmentation only.
        root: Where a cohort lies already; None: it is written into the cache folder.
        cache: The cache folder.
    """

    def __init__(
        self,
        name: str = "synthetic",
        layout: str = "aptos",
        n: int = 300,
        size: int = 512,
        cohort_seed: int = 0,
        root: str | None = None,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__(name, root, cache)
        if layout not in _READERS:
            raise ConfigError([f"data.layout={layout!r} is unknown (valid: {', '.join(_READERS)})"])
        self.layout, self.n, self.size, self.cohort_seed = layout, n, size, cohort_seed
        self._drawn: Path | None = None
        self.task = self._reader().task

    def _reader(self) -> Source:
        kind, options = _READERS[self.layout]
        return kind(self.layout, root=self.given_root, cache=self.cache_dir, **options)

    def annotations(self) -> dict[str, dict[str, str]]:
        """Return the lesion masks that the layout has; only that of IDRiD has any."""
        return self._reader().annotations()

    def read_table(self) -> pd.DataFrame:
        """Write the cohort if it is not there, and return its table."""
        if not self.given_root:
            self._drawn = cohort_folder(self.cache_dir, self.layout, self.n, self.size, self.cohort_seed)
            self.given_root = str(self._drawn)
        reader = self._reader()
        try:
            table = reader.read_table()
        except DataFileError:
            raise
        except DataError as error:  # what was drawn was right; the owner's table may be wrong
            if self._drawn is None:
                raise
            raise DataFileError(str(error), "") from error
        self.label_file = reader.label_file
        self.notes += reader.notes
        return table

    def explained(self, error: DataFileError) -> DataError:
        """Return what is told of a missing or damaged file: a cohort in the cache folder can be drawn again."""
        if self._drawn is None:
            return error
        return DataError(
            f"the cohort that was drawn before is no longer whole: {error.what}; remove {self._drawn}, and the same "
            "command draws it again"
        )


class SyntheticDataModule(SourceDataModule):
    """The synthetic cohort as a datamodule; options of `SyntheticSource`, `CurationSettings` and `LoadingSettings`."""

    source_class = SyntheticSource


def cohort_folder(cache: Path, layout: str, n: int, size: int, seed: int) -> Path:
    """Return the folder of a synthetic cohort, written first if it is not there.

    The folder's name holds the settings and a hash of the generator's code, so neither another
    setting nor another generator is served an old cohort. It appears whole: two jobs that write the
    same cohort at once both end with the one that came first.

    Args:
        cache: The cache folder.
        layout: The owner's layout.
        n: Number of photographs.
        size: Side in pixels.
        seed: Seed of the photographs.
    """
    from retinai.synthetic.cohort import write_cohort

    folder = cache.absolute() / "synthetic" / f"{layout}-n{n}-size{size}-seed{seed}-{_generator_key()}"
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(f"{folder} is no folder, so that no cohort can be drawn there; remove it")
    remove_leftovers(folder.parent, None)  # of cohorts with other settings as well
    try:
        write_cohort(folder, layout, n, size, seed)
    except UserError:
        if not folder.is_dir():  # another job may have been first
            raise
    return folder


def _generator_key() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in (Path(__file__).name, "__init__.py"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
