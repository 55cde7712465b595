"""Persistence images on disk, found by the content of the photograph and by all settings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from retinai.data.curation.file_index import FileIndex, FileRecord
from retinai.data.parallel import choose_workers, run_parallel
from retinai.data.photographs.arrays import file_of, read_array, write_array
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.topology.persistence import persistence_images
from retinai.topology.settings import CHANNELS, TopologySettings


class TopologyCache:
    """A folder of persistence images: `<cache_dir>/topology/<pixels>-<settings>/<aa>/<sha256>.npy`.

    A changed photograph has another hash, changed preprocessing or settings another folder, and a
    damaged file is passed over, so nothing stale is ever served.

    Args:
        cache_dir: The folder of prepared photographs and of the file index.
        preprocessing: How a photograph becomes the input.
        settings: Which images.
    """

    def __init__(self, cache_dir: str | Path, preprocessing: Preprocessing, settings: TopologySettings) -> None:
        self.cache_dir = Path(cache_dir)
        self.preprocessing = preprocessing
        self.settings = settings
        self.folder = self.cache_dir / "topology" / f"{preprocessing.pixel_key()}-{settings.key()}"
        self.index = FileIndex(self.cache_dir)

    def load(self, path: str | Path) -> np.ndarray | None:
        """Return the persistence images of a photograph, or None if there are none for its present content.

        Args:
            path: The original file.

        Returns:
            float32, (4, R, R); None if they were not computed, the photograph has changed, or the file is damaged.
        """
        if not self.folder.is_dir():
            return None
        sha256 = self.index.content_hash(path)
        return None if sha256 is None else self.read(sha256)

    def read(self, sha256: str) -> np.ndarray | None:
        """Return the images kept for a content; None where there are none or the file is damaged."""
        side = self.settings.resolution
        array = read_array(file_of(self.folder, sha256), (len(CHANNELS), side, side), np.float32)
        return None if array is None or not np.isfinite(array).all() else array

    def prepare(
        self,
        records: Mapping[str, FileRecord],
        workers: int | str | None = None,
        progress: str | None = "computing topology",
    ) -> int:
        """Compute and keep what is not there yet of all good photographs, which must be prepared already.

        Args:
            records: Path -> record, as `PreparedCache.prepare` gives them.
            workers: Number of processes, 0 for none, None or `auto` to choose.
            progress: Text of the progress bar, None for none.

        Returns:
            How many photographs were computed; one per content.

        Raises:
            UserError: If the disk is full, or a process was killed; what is done is kept.
        """
        contents = dict.fromkeys(record.sha256 for record in records.values() if not record.reason)
        todo = [sha256 for sha256 in contents if self.read(sha256) is None]
        # A photograph takes as long as decoding a small file does, so that a few hundred need no other process.
        count = choose_workers(workers, len(todo) * 100_000)
        prepared = self.cache_dir / self.preprocessing.pixel_key()
        compute = partial(_compute_one, prepared, self.preprocessing.input_size, self.folder, self.settings)
        return sum(run_parallel(compute, todo, count, progress))

    def size(self) -> tuple[int, int]:
        """Return the number of photographs kept with these settings and their bytes."""
        sizes = [file.stat().st_size for file in self.folder.glob("*/[!.]*.npy")]
        return len(sizes), sum(sizes)


def _compute_one(prepared: Path, side: int, folder: Path, settings: TopologySettings, sha256: str) -> int:
    """Compute the images of one prepared photograph and keep them; runs in a worker."""
    photograph = read_array(file_of(prepared, sha256), (side, side, 3), np.uint8)
    if photograph is None:
        return 0  # removed in the meantime: computed when it is asked for
    write_array(file_of(folder, sha256), persistence_images(photograph, settings))
    return 1
