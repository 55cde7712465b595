"""One photograph that somebody handed in, read for a network, with and without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from retinai.data.loading.fields import FieldSample, SampleField
from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.original import Original
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
        original = Original(photograph, name) if isinstance(photograph, np.ndarray) else Original.read(photograph)
        return Reading(index, *read_original(original, preprocessing, fields))
    except BadImageError as error:
        return Reading(index, None, reason=error.reason)


def read_original(
    original: Original, preprocessing: Preprocessing, fields: Sequence[SampleField]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the prepared pixels of a photograph, uint8 (S, S, 3), and the values of the fields by name.

    Args:
        original: The photograph.
        preprocessing: How it becomes the input.
        fields: What the network reads beside it.

    Raises:
        BadImageError: If it cannot be decoded, or shows no retina.
    """
    pixels = prepare_retina(original, preprocessing)
    name = str(original.name)
    sample = FieldSample(name, name, preprocessing, original=original, photograph=pixels)
    return pixels, {field.name: field.load(sample) for field in fields}
