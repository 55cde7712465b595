"""Reading photographs for the runtime, one by one, here or in other processes; memory holds a few at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from retinai.data.loading.fields import SampleField
from retinai.data.parallel import choose_workers, run_parallel
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.prediction.reading import Reading, Source, read_one


def read_all(
    preprocessing: Preprocessing,
    fields: Sequence[SampleField],
    photographs: Sequence[str] | Sequence[np.ndarray],
    workers: int | str | None,
    progress: str | None,
) -> Iterator[Reading]:
    """Yield the reading of each photograph as it is done, in any order.

    Args:
        preprocessing: How they become inputs.
        fields: What the network reads beside them.
        photographs: Files, or pixels; pixels are prepared in this process.
        workers: Processes that read; `auto` or None: as many as are worth their start.
        progress: Text of the progress bar, or None for none.

    Raises:
        UserError: If `workers` is no number, or a process was killed.
    """
    in_memory = len(photographs) > 0 and isinstance(photographs[0], np.ndarray)
    count = 0 if in_memory else choose_workers(workers, sum(_size(str(path)) for path in photographs))
    sources: list[Source] = list(enumerate(photographs))
    yield from run_parallel(partial(read_one, preprocessing, tuple(fields)), sources, count, progress)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 (a Path for each of a million names takes its time)
    except (OSError, ValueError):
        return 0  # the reader says what is wrong with it
