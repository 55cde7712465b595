"""The same augmented photograph for several networks: each at its own size, with its own mean and std."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from retinai.data.preprocessing import Preprocessing
from retinai.errors import ConfigError

# What decides the pixels besides the size; a view is resized, it cannot be cropped or evened out anew.
_SHARED = ("crop", "ben_graham", "clahe")


def source_of(preprocessing: Preprocessing, views: Sequence[Preprocessing]) -> Preprocessing:
    """Return the preprocessing of the photograph that the input and all views are made from: the largest of them.

    Args:
        preprocessing: Of the network that is trained.
        views: Of the others.

    Raises:
        ConfigError: If crop or contrast options differ, with a sentence for each difference.
    """
    problems = [
        f"data.preprocess.{key}={_word(getattr(preprocessing, key))}, but the other network (a teacher) was trained "
        f"with {_word(getattr(view, key))}; set data.preprocess.{key}={_word(getattr(view, key))}"
        for view in views
        for key in _SHARED
        if getattr(view, key) != getattr(preprocessing, key)
    ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return max([preprocessing, *views], key=lambda p: p.input_size)


def shrink(image: np.ndarray, size: int) -> np.ndarray:
    """Return a square photograph at a smaller side by averaging areas, or as it is.

    Args:
        image: uint8, shape (S, S, 3).
        size: The side wanted, at most S.
    """
    if image.shape[0] == size:
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def shrink_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Return a square mask (S, S) at a smaller side; lesions of a pixel are kept or lost as in `prepare_masks`."""
    return mask if mask.shape[0] == size else cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)


def _word(value: object) -> str:
    return str(value).lower()
