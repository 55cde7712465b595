"""Prepared photographs on disk, found by the content of their source and by the settings."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from retinai.data.curation.file_index import Entry, FileIndex, FileRecord, examine
from retinai.data.parallel import run_parallel
from retinai.data.photographs.arrays import file_of, read_array, write_array
from retinai.data.photographs.original import Original
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import UserError

_LEFTOVER_AGE = 3600.0  # seconds after which a temporary file belongs to a killed job


class PreparedCache:
    """A folder of prepared photographs: `<cache_dir>/<settings>/<aa>/<sha256 of the source>.npy`.

    A changed source has another hash, and changed settings another folder, so nothing stale is ever
    found. Arrays are uncompressed, so that reading one is about as fast as the disk, and carry a checksum:
    a damaged one is not served, and `prepare` makes it anew.

    Args:
        cache_dir: Folder of prepared photographs and of the file index.
        preprocessing: How a photograph becomes the input.

    Attributes:
        notes: Sentences about what `prepare` found damaged.
    """

    def __init__(self, cache_dir: str | Path, preprocessing: Preprocessing) -> None:
        self.cache_dir = Path(cache_dir)
        self.preprocessing = preprocessing
        self.folder = self.cache_dir / preprocessing.pixel_key()
        self.index = FileIndex(self.cache_dir)
        self.notes: list[str] = []

    def with_preprocessing(self, preprocessing: Preprocessing) -> PreparedCache:
        """Return the cache of the same photographs prepared in another way; both share one index of files."""
        other = copy.copy(self)
        other.preprocessing = preprocessing
        other.folder = self.cache_dir / preprocessing.pixel_key()
        return other

    def load(self, path: str | Path) -> np.ndarray | None:
        """Return the prepared pixels of a photograph, or None if there are none for its present content.

        Args:
            path: The original file.

        Returns:
            uint8, (S, S, 3), writable; None if it was not prepared, has changed, or the prepared file is damaged.
        """
        if not self.folder.is_dir():
            return None
        sha256 = self.index.content_hash(path)
        return None if sha256 is None else self._read(sha256)

    def damaged_file(self, path: str | Path) -> Path | None:
        """Return the prepared file of a photograph that `load` does not serve, where there is such a file."""
        sha256 = self.index.content_hash(path) if self.folder.is_dir() else None
        file = None if sha256 is None else file_of(self.folder, sha256)
        return file if file is not None and file.exists() else None

    def store(self, path: str | Path, array: np.ndarray) -> None:
        """Keep the prepared pixels of a photograph.

        Args:
            path: The original file, unchanged since it was decoded.
            array: uint8, (S, S, 3).

        Raises:
            UserError: If the file cannot be read or the disk is full; names the file.
        """
        sha256 = self.index.content_hash(path)
        if sha256 is None:
            raise UserError(f"{path} can no longer be read, so its prepared pixels cannot be kept; run it again")
        write_array(file_of(self.folder, sha256), array)

    def prepare(
        self, paths: Sequence[str], workers: int | str | None = None, progress: str | None = "preparing photographs"
    ) -> dict[str, FileRecord]:
        """Check and prepare photographs, decoding each that is new, changed or damaged in the cache once.

        Args:
            paths: Original files.
            workers: Number of processes, 0 for none, None or `auto` to choose.
            progress: Text of the progress bar, None for none.

        Returns:
            Path -> record, in the order given; a bad or missing file has its `reason` and is not prepared.

        Raises:
            UserError: If the disk is full, or a process was killed; what is done is kept.
        """
        self._remove_leftovers()
        self.index.refresh()
        self.notes = self.index.drop_damaged()
        unique = list(dict.fromkeys(map(str, paths)))
        known = {path: self.index.lookup(path) for path in unique}
        # Every byte of what is there is read, which takes its time with many photographs.
        checking = progress and "checking the cache"
        done = dict(run_parallel(self._is_done, [r for r in known.values() if r is not None], 0, checking))
        todo = [path for path, record in known.items() if record is None or not done[record.path]]
        damaged = {r.sha256 for r in known.values() if r and r.sha256 and not done[r.path] and self._file(r).exists()}
        if damaged:
            self.notes.append(f"prepared photographs that were damaged or of an older kind, made anew: {len(damaged)}")
        fresh = self.index.run(partial(_prepare_one, self.cache_dir, self.preprocessing), todo, workers, progress)
        return fresh | {path: self._record(path) for path in unique if path not in fresh}

    def size(self) -> tuple[int, int]:
        """Return the number of prepared photographs with these settings and their bytes."""
        sizes = [file.stat().st_size for file in self.folder.glob("*/[!.]*.npy")]
        return len(sizes), sum(sizes)

    def _record(self, path: str) -> FileRecord:
        record = self.index.lookup(path)
        return record if record is not None else examine(path).record

    def _is_done(self, record: FileRecord) -> tuple[str, bool]:
        """Return a record's path, and whether there is nothing left to do for it."""
        if not (record.reason or record.phash):
            return record.path, False
        return record.path, bool(record.reason) or self._read(record.sha256) is not None

    def _file(self, record: FileRecord) -> Path:
        return file_of(self.folder, record.sha256)

    def _read(self, sha256: str) -> np.ndarray | None:
        size = self.preprocessing.input_size
        return read_array(file_of(self.folder, sha256), (size, size, 3), np.uint8)

    def _remove_leftovers(self) -> None:
        """Remove temporary files of jobs that were killed long ago."""
        for file in self.folder.glob("*/.*.npy"):
            try:
                if time.time() - file.stat().st_mtime > _LEFTOVER_AGE:
                    file.unlink()
            except FileNotFoundError:
                continue  # the job that wrote it has just finished


def _prepare_one(cache_dir: Path, preprocessing: Preprocessing, path: str) -> Entry:
    """Examine one file and keep its prepared pixels; runs in a worker."""

    def keep(original: Original, sha256: str) -> None:
        target = file_of(cache_dir / preprocessing.pixel_key(), sha256)
        write_array(target, original.prepared(preprocessing))

    return examine(path, keep)
