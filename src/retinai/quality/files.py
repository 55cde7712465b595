"""The verdict on files that somebody handed in, several at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence

from retinai.data.parallel import choose_workers, run_parallel
from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.original import Original
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.quality.verdict import Quality, judge

# JPEGs are decoded at the smallest scale at which the field of view is still larger than that of the features.
_SCALE = Preprocessing(256, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


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


def _judge_one(job: tuple[int, str]) -> tuple[int, Quality | None]:
    index, path = job
    try:
        copy = Original.read(path).copy_for(_SCALE)
    except BadImageError:
        return index, None
    return index, judge(copy.pixels, copy.field_of_view) if copy.field_of_view.found else None
