"""Vessels as lines: the skeleton of a mask, cut at its branchings, with the course and width of each piece."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter1d

from retinai.errors import MissingExtraError

_AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
_SMOOTHING = 3.0  # standard deviation along a course in pixels: the steps of the raster are no turns of the vessel


@dataclass(frozen=True, eq=False)
class Segment:
    """A vessel between two branchings or ends.

    Args:
        points: Its course through the middles of pixels (x, y), smoothed, float64 (K, 2).
        width: Its mean width in pixels.
    """

    points: NDArray[np.float64]
    width: float

    @property
    def inner(self) -> Segment:
        """The vessel without its ends: a skeleton turns into the corner there, which is no turn of the vessel."""
        end = int(np.ceil(self.width / 2))
        return Segment(self.points[end:-end], self.width) if len(self.points) > 2 * end + 2 else self

    @property
    def arc(self) -> float:
        """Length along the course, in pixels."""
        return float(np.hypot(*np.diff(self.points, axis=0).T).sum())

    @property
    def chord(self) -> float:
        """Distance between its ends, in pixels."""
        return float(np.hypot(*(self.points[-1] - self.points[0])))


def skeleton(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the middle lines of a mask, one pixel wide, bool (H, W).

    Raises:
        MissingExtraError: If scikit-image is not installed.

    Source: Zhang and Suen, "A Fast Parallel Algorithm for Thinning Digital Patterns", CACM 1984, of scikit-image.
    """
    try:
        from skimage.morphology import skeletonize
    except ModuleNotFoundError as error:
        raise MissingExtraError("skimage", "vessels") from error
    return np.asarray(skeletonize(mask), bool)


def segments(mask: NDArray[np.bool_], least: float) -> list[Segment]:
    """Return the vessels of a mask between their branchings and ends.

    The width of a segment is the area of the mask that lies nearest to its skeleton, divided by its length: sums are
    exact for any direction, where widths measured at single pixels are whole numbers.

    Args:
        mask: bool, (H, W).
        least: Shorter ones are left out, in pixels along the course.
    """
    lines = skeleton(mask).astype(np.uint8)
    neighbours = cv2.filter2D(lines, -1, _AROUND, borderType=cv2.BORDER_CONSTANT)
    forks = (lines > 0) & (neighbours > 2)
    parts = np.where(cv2.dilate(forks.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, np.uint8(0), lines)
    count, numbered = cv2.connectedComponents(parts, connectivity=8)
    if count < 2:
        return []
    labels: NDArray[np.int32] = np.asarray(numbered, np.int32)
    areas = _areas(mask, lines, labels, count)
    rows, columns = np.nonzero(labels)
    order = np.argsort(labels[rows, columns], kind="stable")
    places = np.stack([columns, rows], axis=1)[order]
    ends = np.searchsorted(labels[rows, columns][order], np.arange(1, count + 1))
    found = []
    for number in range(1, count):
        pixels = _walk(places[ends[number - 1] : ends[number]])
        if len(pixels) < 3:
            continue
        smooth = smoothed(pixels.astype(np.float64), _SMOOTHING)
        one = Segment(smooth, 0.0)
        if one.arc >= least:
            # Half a pixel lies beyond the middles of the first and the last pixel.
            width = float(areas[number] / (one.arc + 1))
            found.append(Segment(smooth, width))
    return found


def smoothed(points: NDArray[np.float64], deviation: float) -> NDArray[np.float64]:
    """Return a course without the steps of the raster; its ends stay, and straight lines too.

    Args:
        points: (K, 2), a pixel apart or two.
        deviation: Of the Gaussian along the course, in points.
    """
    reach = min(int(4 * deviation), len(points) - 1)
    longer = np.pad(points, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    return gaussian_filter1d(longer, deviation, axis=0, mode="nearest")[reach:-reach]


def _areas(
    mask: NDArray[np.bool_], lines: NDArray[np.uint8], labels: NDArray[np.int32], count: int
) -> NDArray[np.int64]:
    """Return how many pixels of the mask lie nearest to each piece of the skeleton; those at forks count to none."""
    nearest = distance_transform_edt(lines == 0, return_distances=False, return_indices=True)
    owner = labels[tuple(nearest)]
    return np.bincount(owner[mask], minlength=count)


def _walk(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pixels of a line without forks from one end to the other; a ring begins anywhere."""
    there = dict.fromkeys((int(x), int(y)) for x, y in places.tolist())
    around = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
    around.sort(key=lambda step: abs(step[0]) + abs(step[1]))  # straight steps first, so that corners are not cut

    def beside(place: tuple[int, int]) -> list[tuple[int, int]]:
        return [(place[0] + dx, place[1] + dy) for dx, dy in around if (place[0] + dx, place[1] + dy) in there]

    ends = [place for place in there if len(beside(place)) == 1]
    here: tuple[int, int] | None = min(ends) if ends else next(iter(there))
    course = []
    while here is not None:
        course.append(here)
        del there[here]
        here = next(iter(beside(here)), None)
    return np.array(course, np.int64)
