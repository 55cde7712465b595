"""From a photograph to a square of prepared pixels: field of view, geometry, contrast.

Everything here is deterministic, so that pixels from the cache equal pixels prepared on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from retinai.data.photographs.preprocessing import GREY, Preprocessing
from retinai.errors import ConfigError, DataError

_SEARCH_SIDE = 512  # the field of view is looked for in a copy of this size
_LEAST_AREA = 0.08  # a smaller bright region is not the field of view
_ENLARGE = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_LINEAR}


@dataclass(frozen=True)
class FieldOfView:
    """The lit part of a photograph.

    Args:
        left: First column of the box.
        top: First row of the box.
        width: Columns of the box, >= 1.
        height: Rows of the box, >= 1.
        outline: Corners (x, y) of the convex outline in pixels of the photograph, float32, (N, 2).
        found: False where no region stood out, and the box is the whole frame.
    """

    left: int
    top: int
    width: int
    height: int
    outline: np.ndarray
    found: bool

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height in pixels."""
        return self.left, self.top, self.width, self.height


def find_field_of_view(image: np.ndarray) -> FieldOfView:
    """Find the lit disc, cut by the frame or not, among black borders, text and camera noise.

    The brightest channel of a small copy is thresholded between the level of the border and that
    of the retina; the largest region that is left after an opening, and its convex hull (a disc
    cut by a frame is convex), are the field of view.

    Args:
        image: Photograph, uint8, (H, W, 3).

    Returns:
        The field of view; the whole frame, with `found` false, where nothing stands out.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _SEARCH_SIDE / max(height, width))
    small = cv2.resize(image, _size(width, height, scale), interpolation=cv2.INTER_AREA)
    red, green, blue = cv2.split(small)
    light = cv2.medianBlur(cv2.max(cv2.max(red, green), blue), 5)  # noise goes, edges stay where they are
    hull = _largest_hull(light > _threshold(light))
    if hull is None:
        return whole_frame(height, width)
    outline = (hull.astype(np.float32) + 0.5) * (width / light.shape[1], height / light.shape[0])
    half = 0.5 * np.array((width / light.shape[1], height / light.shape[0]))  # pixels have an extent
    left, top = np.maximum(np.floor(outline.min(axis=0) - half), 0).astype(int)
    right, bottom = np.minimum(np.ceil(outline.max(axis=0) + half), (width, height)).astype(int)
    return FieldOfView(int(left), int(top), int(right - left), int(bottom - top), outline.astype(np.float32), True)


def whole_frame(height: int, width: int) -> FieldOfView:
    """Return a field of view that is the whole frame, not found."""
    outline = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    return FieldOfView(0, 0, width, height, outline, False)


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
    square = _to_square(image, view, preprocessing.input_size, _ENLARGE[preprocessing.interpolation])
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


def prepare_masks(
    image: np.ndarray, masks: Mapping[str, np.ndarray], preprocessing: Preprocessing
) -> dict[str, np.ndarray]:
    """Move masks through the geometry that `prepare_photograph` gives their photograph.

    Args:
        image: The photograph, uint8, (H, W, 3).
        masks: Name -> mask of any type, (H, W).
        preprocessing: The same settings.

    Returns:
        Name -> mask of the same type, (S, S), resized with nearest neighbour, 0 in the padding.

    Raises:
        DataError: If a mask has another size than the photograph.
    """
    view, prepared = _view(image, preprocessing), {}
    for name, mask in masks.items():
        if mask.shape != image.shape[:2]:
            raise DataError(f"mask {name!r} is {mask.shape[::-1]} pixels, its photograph {image.shape[1::-1]}")
        plane = mask.astype(np.uint8) if mask.dtype == bool else mask
        moved = _to_square(plane, view, preprocessing.input_size, cv2.INTER_NEAREST_EXACT)
        prepared[name] = moved.astype(mask.dtype)
    return prepared


def equalise_lightness(image: np.ndarray, clip_limit: float = 2.0, tiles: int = 8) -> np.ndarray:
    """Apply CLAHE to the lightness of CIELAB, so that hues stay.

    Args:
        image: Pixels, uint8, (H, W, 3), RGB.
        clip_limit: How far a histogram bin may exceed the mean before it is clipped.
        tiles: Tiles per side.

    Returns:
        Pixels, uint8, (H, W, 3).

    Source: Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV, 1994.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[:, :, 0] = cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(np.ascontiguousarray(lab[:, :, 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def subtract_local_colour(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return 4 x (pixel - local mean colour) + 128 inside the field of view, 128 outside.

    The local mean is a Gaussian with sigma = radius / 30 (10 pixels at Graham's radius of 300),
    taken over the field of view only, so that no bright rim appears and no edge need be cut off.

    Args:
        image: Pixels, uint8, (S, S, 3).
        inside: Field of view, bool, (S, S).

    Returns:
        Pixels, uint8, (S, S, 3).

    Source: Graham, "Kaggle Diabetic Retinopathy Detection competition report", 2015, section 2.
    """
    columns = np.flatnonzero(inside.any(axis=0))
    rows = np.flatnonzero(inside.any(axis=1))
    sigma = max(np.ptp(columns), np.ptp(rows)) / 2 / 30 if columns.size else 1.0
    weight = inside.astype(np.float32)
    colour = image.astype(np.float32)
    total = cv2.GaussianBlur(colour * weight[:, :, None], (0, 0), max(sigma, 0.5))
    share = cv2.GaussianBlur(weight, (0, 0), max(sigma, 0.5))
    mean = total / np.maximum(share, 1e-6)[:, :, None]
    evened = np.clip(np.rint(4 * (colour - mean) + GREY), 0, 255)
    return np.where(inside[:, :, None], evened, GREY).astype(np.uint8)


def _view(image: np.ndarray, preprocessing: Preprocessing, found: FieldOfView | None = None) -> FieldOfView:
    if preprocessing.interpolation not in _ENLARGE:
        raise ConfigError([f"interpolation {preprocessing.interpolation!r} is unknown; valid: {', '.join(_ENLARGE)}"])
    if preprocessing.crop == "fov":
        return find_field_of_view(image) if found is None else found
    if preprocessing.crop == "none":
        return whole_frame(*image.shape[:2])
    raise ConfigError([f"data.preprocess.crop {preprocessing.crop!r} is unknown; valid: fov, none"])


def _size(width: float, height: float, scale: float) -> tuple[int, int]:
    return max(1, round(width * scale)), max(1, round(height * scale))


def _threshold(light: np.ndarray) -> float:
    """Return the level between border and retina: the border, plus a tenth of the way to the retina."""
    edge = np.concatenate([light[:3].ravel(), light[-3:].ravel(), light[:, :3].ravel(), light[:, -3:].ravel()])
    border, retina = float(np.percentile(edge, 10)), _percentile(light, 95)
    if border > 0.35 * retina:  # a tight crop: the frame lies inside the retina, there is no border
        border = 0.0
    return border + max(0.1 * (retina - border), 2.0)


def _percentile(values: np.ndarray, percent: float) -> float:
    """Return what `np.percentile` gives, for uint8 and many values: by counting, without sorting."""
    ranks = np.cumsum(cv2.calcHist([values], [0], None, [256], [0, 256]), dtype=np.float64)
    place = (values.size - 1) * percent / 100
    below, above = (int(np.searchsorted(ranks, rank, side="right")) for rank in (np.floor(place), np.ceil(place)))
    return float(below + (above - below) * (place % 1))


def _largest_hull(lit: np.ndarray) -> np.ndarray | None:
    """Return the convex hull (N, 2) of the largest lit region, or None if it is too small."""
    size = max(3, round(max(lit.shape) / 60)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    # Regions at the frame must not be eaten by the opening: the frame is repeated outwards first.
    framed = cv2.copyMakeBorder(lit.astype(np.uint8), size, size, size, size, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(framed, cv2.MORPH_OPEN, kernel)[size:-size, size:-size]
    # Without OpenCV's statistics, of which only the areas are needed: they take three times as long as the regions.
    count, labels = cv2.connectedComponents(opened, connectivity=4, ltype=cv2.CV_16U)
    if count < 2:
        return None
    areas = np.bincount(labels.ravel(), minlength=count)
    largest = 1 + int(np.argmax(areas[1:]))
    if areas[largest] < _LEAST_AREA * lit.size:
        return None
    contours, _ = cv2.findContours((labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return cv2.convexHull(np.concatenate(contours))[:, 0]


def _to_square(plane: np.ndarray, view: FieldOfView, side: int, enlarge: int) -> np.ndarray:
    """Crop, resize so that the longer side fills the square, and centre on black.

    Shrinking averages areas, whatever the setting: other methods skip pixels and lose small
    lesions. Nearest neighbour, for masks, is kept.
    """
    scale = side / max(view.width, view.height)
    width, height = _size(view.width, view.height, scale)
    method = cv2.INTER_AREA if scale < 1 and enlarge != cv2.INTER_NEAREST_EXACT else enlarge
    crop = plane[view.top : view.top + view.height, view.left : view.left + view.width]
    small = cv2.resize(crop, (width, height), interpolation=method)
    square = np.zeros((side, side, *plane.shape[2:]), plane.dtype)
    left, top = (side - width) // 2, (side - height) // 2
    square[top : top + height, left : left + width] = small
    return square


def _inside(view: FieldOfView, side: int) -> np.ndarray:
    """Return the field of view as a mask of the prepared square, bool, (S, S)."""
    scale = side / max(view.width, view.height)
    width, height = _size(view.width, view.height, scale)
    offset = ((side - width) // 2, (side - height) // 2)
    corners = (view.outline - (view.left, view.top)) * (width / view.width, height / view.height) + offset
    mask = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(corners - 0.5).astype(np.int32), 1)
    frame = np.zeros_like(mask)
    frame[offset[1] : offset[1] + height, offset[0] : offset[0] + width] = 1
    return (mask & frame).astype(bool)
