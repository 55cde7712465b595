"""Reading photographs for the runtime, one by one, here or in other processes; memory holds a few at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from retinai.data.loading.fields import FieldSample, SampleField
from retinai.data.parallel import choose_workers, run_parallel
from retinai.data.photographs.images import BadImageError, read_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.photographs.retina import prepare_retina

Source = tuple[int, str | np.ndarray]


@dataclass(frozen=True, eq=False)
class Reading:
    """One photograph, read or not.

    Args:
        index: Its place in the list.
        pixels: Prepared pixels, uint8, (S, S, 3); None if it could not be read.
        values: What the network reads beside it, by the names of the fields.
        reason: Why it could not be read; empty if it could.
    """

    index: int
    pixels: np.ndarray | None
    values: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


def read_one(preprocessing: Preprocessing, fields: Sequence[SampleField], source: Source) -> Reading:
    """Read one photograph.

    Args:
        preprocessing: How it becomes the input.
        fields: What the network reads beside it.
        source: Its place in the list, and its file or its pixels (uint8, (H, W, 3), RGB).
    """
    index, photograph = source
    name = f"photograph {index}" if isinstance(photograph, np.ndarray) else str(photograph)
    try:
        original = photograph if isinstance(photograph, np.ndarray) else read_photograph(photograph)
        pixels = prepare_retina(original, preprocessing, name)
    except BadImageError as error:
        return Reading(index, None, reason=error.reason)
    sample = FieldSample(name, name, preprocessing, original=original, photograph=pixels)
    return Reading(index, pixels, {field.name: field.load(sample) for field in fields})


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
