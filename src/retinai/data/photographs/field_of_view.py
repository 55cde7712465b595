"""Where the retina is in a photograph: the lit disc among black borders."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SEARCH_SIDE = 512  # the field of view is looked for in a copy of this size
_LEAST_AREA = 0.08  # a smaller bright region is not the field of view


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
    red, green, blue = cv2.split(_small_copy(image))
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


def scaled_size(width: float, height: float, scale: float) -> tuple[int, int]:
    """Return width and height times a scale in whole pixels, each at least 1."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def _small_copy(image: np.ndarray) -> np.ndarray:
    """Return a copy whose longer side is SEARCH_SIDE, or the photograph where it is smaller."""
    height, width = image.shape[:2]
    factor = max(height, width) // SEARCH_SIDE
    if factor > 1 and height % factor == width % factor == 0:
        # Whole pixels are averaged first, which takes a tenth of the time of averaging parts of pixels.
        image = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    scale = min(1.0, SEARCH_SIDE / max(height, width))
    return cv2.resize(image, scaled_size(width, height, scale), interpolation=cv2.INTER_AREA)


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
    region = opened
    if count > 2:
        largest = 1 + int(np.argmax(np.bincount(labels.ravel(), minlength=count)[1:]))
        region = (labels == largest).astype(np.uint8)
    if cv2.countNonZero(region) < _LEAST_AREA * lit.size:
        return None
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return cv2.convexHull(np.concatenate(contours))[:, 0]
