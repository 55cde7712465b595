"""What is known of each photograph's file: content hash, perceptual hash, size, or why it is bad.

The index is a file of checked JSON lines that only grows. An entry counts only as long as the file's size,
modification time, change time and inode stay as they were; the change time cannot be set back.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from retinai.data.curation.checked_lines import LineFile
from retinai.data.parallel import choose_workers, run_parallel
from retinai.data.photographs.images import BadImageError, read_bytes
from retinai.data.photographs.original import Original
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing

INDEX_NAME = "file_index.jsonl"
# Raised when the checks or the perceptual hash change, so that old entries are not believed.
INDEX_VERSION = 3
HASH_SIDE = 16  # the perceptual hash has HASH_SIDE^2 bits
_HASH_VIEW = Preprocessing(input_size=4 * HASH_SIDE, mean=(0, 0, 0), std=(1, 1, 1))
# JPEGs are decoded as for the usual input, so that preparing one decodes it once; the hash is the same for any input.
_HASH_SCALE = replace(_HASH_VIEW, input_size=224)

Signature = tuple[int, int, int, int]
Use = Callable[[Original, str], None]


@dataclass(frozen=True)
class FileRecord:
    """What is known of one file.

    Args:
        path: The file as it was asked for.
        sha256: Hash of its bytes, hex; empty if it cannot be read at all.
        phash: Perceptual hash of the field of view, hex, 256 bits; empty for a bad file.
        width: Columns in pixels, after EXIF rotation.
        height: Rows in pixels.
        reason: Why the file is bad, in one clause; empty for a good one.
    """

    path: str
    sha256: str = ""
    phash: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Entry:
    """A record with the state of the file that it was taken from.

    Args:
        record: What is known.
        signature: Size, mtime_ns, ctime_ns and inode before and after reading; None: it kept changing.
        read_at: When reading began, seconds since the epoch.
    """

    record: FileRecord
    signature: Signature | None
    read_at: float

    def is_current(self, signature: Signature) -> bool:
        """Return whether the file is surely still the one that was read.

        A file that was changed again within one tick of the clock looks the same, so that an entry
        read right after a change is not believed (whole-second clocks tick every one or two seconds).
        """
        if signature != self.signature:
            return False
        changed = max(signature[1], signature[2])
        coarse = signature[1] % 10**9 == 0 and signature[2] % 10**9 == 0
        return changed / 1e9 < self.read_at - (2.0 if coarse else 0.05)


def file_signature(path: str | Path) -> Signature | None:
    """Return size, mtime_ns, ctime_ns and inode of a file, or None if there is none."""
    try:
        state = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # a ValueError: no file can have this name
        return None
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def perceptual_hash(original: Original) -> str:
    """Return the DCT hash of a photograph's field of view, so that borders do not matter.

    Args:
        original: The photograph; a JPEG is decoded as for an input of 224 pixels.

    Returns:
        256 bits as 64 hex digits.

    Raises:
        BadImageError: If it cannot be decoded, or is all black.

    Source: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section
        3.2.1, by imagehash with 16 x 16 coefficients: retinas look so alike that 8 x 8 do not separate them.
    """
    import imagehash
    from PIL import Image

    copy = original.copy_for(_HASH_SCALE)
    square = prepare_photograph(copy.pixels, _HASH_VIEW, copy.field_of_view)
    return str(imagehash.phash(Image.fromarray(square), hash_size=HASH_SIDE))


def examine(path: str, use: Use | None = None) -> Entry:
    """Read, check, hash and decode one file, all from one reading of its bytes.

    Args:
        path: The file.
        use: Called with a good photograph and the hash of its bytes.

    Returns:
        The entry; a bad file has its reason in it.
    """
    for _ in range(3):
        before, read_at = file_signature(path), time.time()
        try:
            data = read_bytes(path)
        except BadImageError as error:
            # No signature: a missing or locked file may be mended without leaving a trace in stat.
            sha256 = hashlib.sha256(b"").hexdigest() if before and before[0] == 0 else ""
            return Entry(FileRecord(path, sha256=sha256, reason=error.reason), None, read_at)
        if file_signature(path) == before:
            break
    else:
        before = None
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        original = Original(data, path)
        phash = perceptual_hash(original)
        if use is not None:
            use(original, sha256)
    except BadImageError as error:
        return Entry(FileRecord(path, sha256=sha256, reason=error.reason), before, read_at)
    return Entry(FileRecord(path, sha256, phash, original.header.width, original.header.height), before, read_at)


@dataclass
class FileIndex:
    """The index of photographs, kept in a cache folder.

    Args:
        cache_dir: Folder of the index; made when something is written.
        name: Of its file; what are no photographs have an index of their own.
    """

    cache_dir: Path
    name: str = INDEX_NAME
    _entries: dict[str, Entry] = field(default_factory=dict, init=False, repr=False)
    _lines: LineFile = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.cache_dir = Path(self.cache_dir)
        self._lines = LineFile(self.file, INDEX_VERSION)
        self.refresh()

    @property
    def file(self) -> Path:
        """The file of JSON lines."""
        return self.cache_dir / self.name

    def scan(
        self, paths: Sequence[str], workers: int | str | None = None, progress: str | None = "checking photographs"
    ) -> dict[str, FileRecord]:
        """Return what is known of each file, reading those that are new or have changed.

        Args:
            paths: Files.
            workers: Number of processes, 0 for none, None or `auto` to choose.
            progress: Text of the progress bar, None for none.

        Returns:
            Path -> record, in the order given; a bad or missing file has its `reason`.

        Raises:
            UserError: If the disk is full, or a process was killed; what is done is kept.
        """
        self.refresh()
        todo = [path for path in dict.fromkeys(map(str, paths)) if self.lookup(path) is None]
        fresh = self.run(examine, todo, workers, progress)
        return {path: fresh.get(path) or self._known(path) for path in map(str, paths)}

    def run(
        self, function: Callable[[str], Entry], todo: Sequence[str], workers: int | str | None, progress: str | None
    ) -> dict[str, FileRecord]:
        """Call a function on files in parallel and keep each entry as soon as it is there.

        Args:
            function: `examine`, or one like it; picklable.
            todo: Files.
            workers: As in `scan`.
            progress: As in `scan`.

        Returns:
            Path -> record.
        """
        total = sum(signature[0] for signature in map(file_signature, todo) if signature)
        fresh: dict[str, FileRecord] = {}
        for entry in run_parallel(function, todo, choose_workers(workers, total), progress):
            fresh[entry.record.path] = entry.record
            self.add(entry)
        return fresh

    def lookup(self, path: str | Path) -> FileRecord | None:
        """Return the record of a file, or None if it is not known or the file has changed."""
        entry, signature = self._entries.get(_key(path)), file_signature(path)
        if entry is None or signature is None or not entry.is_current(signature):
            return None
        return self._known(str(path))

    def content_hash(self, path: str | Path) -> str | None:
        """Return the SHA-256 of a file's bytes, from the index or by reading; None if it cannot be read."""
        record = self.lookup(path)
        if record is not None:
            return record.sha256
        signature, read_at = file_signature(path), time.time()
        try:
            sha256 = hashlib.sha256(read_bytes(path)).hexdigest()
        except BadImageError:
            return None  # the caller opens the file next and says what is wrong with it
        # Kept in memory only: nothing but the hash is known.
        if signature is not None and signature == file_signature(path):
            self._entries[_key(path)] = Entry(FileRecord(str(path), sha256), signature, read_at)
        return sha256

    def add(self, entry: Entry) -> None:
        """Keep an entry, in memory and in the file.

        Raises:
            UserError: If the disk is full; the file is then left as it was.
        """
        if entry.signature is None:
            return
        self._entries[_key(entry.record.path)] = entry
        values = {**asdict(entry.record), "path": _key(entry.record.path)}
        self._lines.append({**values, "signature": entry.signature, "read_at": entry.read_at})

    def refresh(self) -> None:
        """Read what this or another job has added since the last reading; damaged lines are passed over.

        Raises:
            UserError: If a folder or the like stands in the index's place, or it cannot be read.
        """
        for values in self._lines.read_new():
            signature, read_at = tuple(map(int, values.pop("signature"))), float(values.pop("read_at"))
            entry = Entry(FileRecord(**values), signature, read_at)  # type: ignore[arg-type]
            self._entries[entry.record.path] = entry

    def drop_damaged(self) -> list[str]:
        """Remove the damaged lines that were met and return a sentence that tells how many, or none."""
        count = self._lines.drop_damaged()
        if not count:
            return []
        return [f"damaged lines of {self.file} dropped: {count}; their photographs are read again"]

    def _known(self, path: str) -> FileRecord:
        record = self._entries[_key(path)].record
        return FileRecord(**{**asdict(record), "path": path})


def _key(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100
