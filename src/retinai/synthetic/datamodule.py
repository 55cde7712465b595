"""The synthetic cohort as a data set: written once into the cache folder, then read like an owner's."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from retinai.data.datamodule import FundusDataModule
from retinai.data.sources.aptos import AptosDataModule
from retinai.data.sources.idrid import IdridDataModule
from retinai.data.sources.odir import OdirDataModule
from retinai.errors import ConfigError
from retinai.files import short_name
from retinai.places import remove_leftovers

# The datamodule that reads a layout, and its options for it.
_READERS: dict[str, tuple[type[FundusDataModule], dict[str, str]]] = {
    "aptos": (AptosDataModule, {}),
    "idrid": (IdridDataModule, {}),
    "odir": (OdirDataModule, {"layout": "official"}),
    "odir_kaggle": (OdirDataModule, {"layout": "kaggle"}),
    "odir_course": (OdirDataModule, {"layout": "course"}),
}


class SyntheticDataModule(FundusDataModule):
    """Synthetic photographs in an owner's layout, read by that owner's datamodule.

    Args:
        name: Name of the data set.
        layout: `aptos`, `idrid`, `odir`, `odir_kaggle` or `odir_course`.
        n: Number of labelled photographs.
        size: Side of a photograph in pixels.
        cohort_seed: Seed of the photographs; `seed` decides split, order and augmentation only.
        **options: Options of `FundusDataModule`; with `root` a cohort that lies there is read.
    """

    def __init__(
        self,
        name: str = "synthetic",
        layout: str = "aptos",
        n: int = 300,
        size: int = 512,
        cohort_seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        if layout not in _READERS:
            raise ConfigError([f"data.layout={layout!r} is unknown (valid: {', '.join(_READERS)})"])
        self.layout, self.n, self.size, self.cohort_seed = layout, n, size, cohort_seed
        self.task = self._reader().task

    def _reader(self) -> FundusDataModule:
        kind, options = _READERS[self.layout]
        return kind(name=self.layout, root=self._root, cache=self.cache_dir, **options)  # type: ignore[arg-type]

    def lesion_masks(self) -> dict[str, dict[str, str]]:
        """Return the lesion masks that the layout has; only that of IDRiD has any."""
        return self._reader().lesion_masks()

    def read_table(self) -> pd.DataFrame:
        """Write the cohort if it is not there, and return its table."""
        if not self._root:
            self._root = str(cohort_folder(self.cache_dir, self.layout, self.n, self.size, self.cohort_seed))
        reader = self._reader()
        table = reader.read_table()
        self.label_file = reader.label_file
        self.notes += reader.notes
        return table


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
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent, folder.name)
    owner = f"{socket.gethostname()}-{os.getpid()}-"
    temporary = Path(tempfile.mkdtemp(prefix=short_name(folder.name, owner), dir=folder.parent))
    try:
        write_cohort(temporary / layout, layout, n, size, seed)
        try:
            (temporary / layout).rename(folder)
        except OSError:
            # Another job was first: a folder cannot be renamed onto one that is not empty.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _generator_key() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in (Path(__file__).name, "__init__.py"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
