"""From a photograph to a square of prepared pixels: crop to the field of view, padding, resizing, contrast.

Everything here is deterministic, so that pixels from the cache equal pixels prepared on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from retinai.data.photographs.contrast import equalise_lightness, subtract_local_colour
from retinai.data.photographs.field_of_view import FieldOfView, find_field_of_view, scaled_size, whole_frame
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import ConfigError, DataError

if TYPE_CHECKING:
    from retinai.data.photographs.original import Copy

_ENLARGE = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_LINEAR}


def prepare_photograph(image: np.ndarray, preprocessing: Preprocessing, found: FieldOfView | None = None) -> np.ndarray:
    """Crop to the field of view, pad to a square with black, resize, and even out the contrast.

    Args:
        image: Photograph, uint8, (H, W, 3), RGB.
        preprocessing: Side, crop and contrast options.
        found: The photograph's field of view, where it was looked for already.

    Returns:
        Prepared pixels, uint8, (S, S, 3), S = `preprocessing.input_size`, C-contiguous.

    Raises:
        ConfigError: If a setting has an unknown value.
    """
    view = _view(image, preprocessing, found)
    square = _to_square(image, view.box, view, preprocessing.input_size, _ENLARGE[preprocessing.interpolation])
    if preprocessing.clahe or preprocessing.ben_graham:
        inside = _inside(view, preprocessing.input_size)
        if preprocessing.clahe:
            square = equalise_lightness(square) * inside[:, :, None]
        if preprocessing.ben_graham:
            square = subtract_local_colour(square, inside)
    return np.ascontiguousarray(square)


def same_shape(mask: Sequence[int], photograph: Sequence[int]) -> bool:
    """Return whether a mask's sides (rows, columns, ...) have the ratio of its photograph's, to within a hundredth."""
    (rows, columns), (height, width) = mask[:2], photograph[:2]
    return abs(columns * height - rows * width) <= 0.01 * rows * width


def prepare_masks(copy: Copy, masks: Mapping[str, np.ndarray], preprocessing: Preprocessing) -> dict[str, np.ndarray]:
    """Move masks through the geometry that `prepare_photograph` gives their photograph.

    Args:
        copy: The photograph as it was decoded for these settings.
        masks: Name -> mask of any type, of the size of the whole photograph, (H, W).
        preprocessing: The same settings.

    Returns:
        Name -> mask of the same type, (S, S), resized with nearest neighbour, 0 in the padding.

    Raises:
        DataError: If a mask has another size than the photograph.
    """
    view, prepared = _view(copy.pixels, preprocessing, copy.found_for(preprocessing)), {}
    box = copy.box_in_whole(view)
    for name, mask in masks.items():
        if mask.shape[::-1] != copy.whole:
            raise DataError(f"mask {name!r} is {mask.shape[::-1]} pixels, its photograph {copy.whole}")
        plane = mask.astype(np.uint8) if mask.dtype == bool else mask
        moved = _to_square(plane, box, view, preprocessing.input_size, cv2.INTER_NEAREST_EXACT)
        prepared[name] = moved.astype(mask.dtype)
    return prepared


def to_photograph(plane: np.ndarray, copy: Copy, preprocessing: Preprocessing) -> np.ndarray:
    """Move a map of the prepared square back to its photograph: the inverse of `prepare_masks`.

    Args:
        plane: Values of the prepared pixels, such as probabilities, float32, (S, S).
        copy: The photograph as it was decoded for these settings.
        preprocessing: The same settings.

    Returns:
        float32, (H, W), of the size of the whole photograph; bilinear, 0 outside of the field of view.
    """
    view = _view(copy.pixels, preprocessing, copy.found_for(preprocessing))
    side = preprocessing.input_size
    width, height = scaled_size(view.width, view.height, side / max(view.width, view.height))
    left, top = (side - width) // 2, (side - height) // 2
    inside = (plane * _inside(view, side)).astype(np.float32)
    inner = np.ascontiguousarray(inside[top : top + height, left : left + width])
    left, top, across, down = copy.box_in_whole(view)
    whole = np.zeros(copy.whole[::-1], np.float32)
    whole[top : top + down, left : left + across] = cv2.resize(inner, (across, down), interpolation=cv2.INTER_LINEAR)
    return whole


def _view(image: np.ndarray, preprocessing: Preprocessing, found: FieldOfView | None = None) -> FieldOfView:
    if preprocessing.interpolation not in _ENLARGE:
        raise ConfigError([f"interpolation {preprocessing.interpolation!r} is unknown; valid: {', '.join(_ENLARGE)}"])
    if preprocessing.crop == "fov":
        return find_field_of_view(image) if found is None else found
    if preprocessing.crop == "none":
        return whole_frame(*image.shape[:2])
    raise ConfigError([f"data.preprocess.crop {preprocessing.crop!r} is unknown; valid: fov, none"])


def _to_square(
    plane: np.ndarray, box: tuple[int, int, int, int], view: FieldOfView, side: int, enlarge: int
) -> np.ndarray:
    """Crop to a box, resize so that the longer side of the field of view fills the square, and centre on black.

    Shrinking averages areas, whatever the setting: other methods skip pixels and lose small
    lesions. Nearest neighbour, for masks, is kept.
    """
    scale = side / max(view.width, view.height)
    width, height = scaled_size(view.width, view.height, scale)
    method = cv2.INTER_AREA if scale < 1 and enlarge != cv2.INTER_NEAREST_EXACT else enlarge
    left, top, across, down = box
    crop = plane[top : top + down, left : left + across]
    small = cv2.resize(crop, (width, height), interpolation=method)
    square = np.zeros((side, side, *plane.shape[2:]), plane.dtype)
    left, top = (side - width) // 2, (side - height) // 2
    square[top : top + height, left : left + width] = small
    return square


def _inside(view: FieldOfView, side: int) -> np.ndarray:
    """Return the field of view as a mask of the prepared square, bool, (S, S)."""
    scale = side / max(view.width, view.height)
    width, height = scaled_size(view.width, view.height, scale)
    offset = ((side - width) // 2, (side - height) // 2)
    corners = (view.outline - (view.left, view.top)) * (width / view.width, height / view.height) + offset
    mask = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(corners - 0.5).astype(np.int32), 1)
    frame = np.zeros_like(mask)
    frame[offset[1] : offset[1] + height, offset[0] : offset[0] + width] = 1
    return (mask & frame).astype(bool)
