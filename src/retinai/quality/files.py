"""The verdict on files, several at a time, kept by the content of the file where there is a cache."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from retinai.data.curation.checked_lines import LineFile
from retinai.data.curation.file_index import FileIndex
from retinai.data.parallel import choose_workers, run_parallel
from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.original import Original
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.quality.verdict import MODEL_FILE, Quality, judge

# JPEGs are decoded at the smallest scale at which the field of view is still larger than that of the features.
_SCALE = Preprocessing(256, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
STORE = "quality.jsonl"
# Raised when the features change, so that old verdicts are not believed; what was fitted counts as well.
_STORE_VERSION = 1
NO_FIELD_OF_VIEW = "it cannot be read, or shows no field of view"


def judge_files(
    paths: Sequence[str], workers: int | str | None = "auto", progress: str | None = None
) -> list[Quality | None]:
    """Return the verdict on each photograph; None for a file that cannot be read or shows no field of view.

    Args:
        paths: The files.
        workers: Processes that read; `auto`: as many as are worth their start.
        progress: Text of the progress bar, or None for none.

    Raises:
        UserError: If `workers` is no number, or a process was killed.
    """
    found: list[Quality | None] = [None] * len(paths)
    count = choose_workers(workers, sum(os.path.getsize(path) for path in paths if os.path.isfile(path)))  # noqa: PTH113, PTH202
    for index, quality in run_parallel(_judge_one, list(enumerate(paths)), count, progress):
        found[index] = quality
    return found


class VerdictStore:
    """Verdicts on photographs, each judged once: a file of lines in the cache, found by the content of the photograph.

    Args:
        cache_dir: Folder of prepared photographs and of the file index.
        workers: As in `judge_files`.
    """

    def __init__(self, cache_dir: str | Path, workers: int | str | None = "auto") -> None:
        self.index = FileIndex(Path(cache_dir))
        self.workers = workers
        self._lines = LineFile(Path(cache_dir) / STORE, zlib.crc32(MODEL_FILE.read_bytes(), _STORE_VERSION))
        self._known: dict[str, Quality | None] = {}

    def qualities(self, paths: Sequence[str]) -> list[Quality | None]:
        """Return the verdict on each photograph as `judge_files` does, judging only those that are not known.

        Raises:
            UserError: If the cache cannot be read or written, or a process was killed.
        """
        self.index.refresh()
        for line in self._lines.read_new():
            values = line["quality"]
            self._known[line["sha256"]] = None if values is None else Quality(**values)
        digests = [self.index.content_hash(path) for path in paths]
        todo = {
            digest: path for digest, path in zip(digests, paths, strict=True) if digest and digest not in self._known
        }
        judged = judge_files(list(todo.values()), self.workers, "judging quality") if todo else []
        for digest, quality in zip(todo, judged, strict=True):
            self._known[digest] = quality
            self._lines.append({"sha256": digest, "quality": None if quality is None else asdict(quality)})
        return [self._known[digest] if digest else None for digest in digests]

    def __call__(self, paths: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Return verdict and reason in words by path; what cannot be judged is a `reject`."""
        found = zip(paths, self.qualities(paths), strict=True)
        return {path: ("reject", NO_FIELD_OF_VIEW) if q is None else (q.verdict, q.reason) for path, q in found}


def count_verdicts(qualities: Sequence[Quality | None]) -> str:
    """Return the numbers of each verdict in words, such as `40 good, 3 usable, 1 reject`."""
    verdicts = [quality.verdict for quality in qualities if quality is not None]
    told = [f"{verdicts.count(name)} {name}" for name in ("good", "usable", "reject")]
    unknown = len(qualities) - len(verdicts)
    return ", ".join([*told, *([f"{unknown} not judged"] if unknown else [])])


def _judge_one(job: tuple[int, str]) -> tuple[int, Quality | None]:
    index, path = job
    try:
        copy = Original.read(path).copy_for(_SCALE)
    except BadImageError:
        return index, None
    return index, judge(copy.pixels, copy.field_of_view) if copy.field_of_view.found else None
