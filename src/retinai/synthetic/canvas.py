"""Drawing helpers: smooth noise, soft outlines and tapering lines on float maps."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

# OpenCV takes coordinates in 1/16 of a pixel, so that small lesions do not jump to whole pixels.
_SHIFT = 4
_FRACTION = 1 << _SHIFT


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: float) -> Floats:
    """Return smooth noise with mean 0 and a standard deviation near 1.

    Args:
        rng: Source of randomness.
        height: Rows of the map.
        width: Columns of the map.
        cells: Number of bumps along the longer side; more cells give a finer pattern.

    Returns:
        Map, shape (height, width), float32.
    """
    longer = max(height, width)
    rows, columns = (max(3, round(cells * side / longer) + 2) for side in (height, width))
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    # Cubic interpolation averages neighbours; 1.3 gives back most of the lost spread.
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 1.3, dtype=np.float32)


def blur(image: Floats, sigma: float) -> Floats:
    """Return the map after a Gaussian blur; sigma in pixels, anything below 0.2 leaves it as it is."""
    if sigma < 0.2:
        return image
    if sigma > 6:
        # A wide blur of a reduced map gives the same picture at a fraction of the time.
        factor = int(min(8, sigma // 2))
        height, width = image.shape[:2]
        small = cv2.resize(image, (max(4, width // factor), max(4, height // factor)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma / factor)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)


def falloff(distance: Floats, radius: float, softness: float) -> Floats:
    """Return 1 inside `radius`, 0 outside, with a smooth edge of width `softness` (same unit as distance)."""
    step = np.clip((radius - distance) / softness + 0.5, 0, 1)
    return np.asarray(step * step * (3 - 2 * step), dtype=np.float32)


def fill_outlines(canvas: npt.NDArray[np.uint8], outlines: Iterable[tuple[Points, int]]) -> None:
    """Fill closed outlines on an 8-bit map, with soft edges; where two meet, the brighter value stays.

    Args:
        canvas: Map to draw on, shape (H, W), uint8.
        outlines: Pairs of an outline in pixels, shape (K, 2), and its value, 1 to 255; painted
            in the order of their values.
    """
    for outline, value in sorted(outlines, key=lambda pair: pair[1]):
        cv2.fillPoly(canvas, [_fixed(outline)], float(value), cv2.LINE_AA, _SHIFT)


def draw_lines(canvas: npt.NDArray[np.uint8], lines: Iterable[tuple[Points, npt.NDArray[np.float64]]]) -> None:
    """Draw tapering lines on an 8-bit map, thin ones first, so that wide ones cover them.

    A line thinner than a pixel is drawn one pixel wide and fainter, so that the amount of ink
    follows the width at any resolution.

    Args:
        canvas: Map to draw on, shape (H, W), uint8.
        lines: Pairs of points in pixels, shape (K, 2), and widths in pixels, shape (K,).
    """
    for points, widths in sorted(lines, key=lambda line: float(line[1].max())):
        if len(points) < 2:
            continue
        thickness = np.maximum(1, np.rint(widths[:-1])).astype(int)
        starts = np.flatnonzero(np.r_[True, np.diff(thickness) != 0])
        fixed = _fixed(points)
        for start, stop in zip(starts, np.r_[starts[1:], len(thickness)], strict=True):
            ink = int(255 * min(1.0, max(0.15, float(widths[start:stop].mean()))))
            piece = fixed[start : stop + 1]
            cv2.polylines(canvas, [piece], False, float(ink), int(thickness[start]), cv2.LINE_AA, _SHIFT)


def _fixed(points: Points) -> npt.NDArray[np.int32]:
    return np.rint(points * _FRACTION).astype(np.int32).reshape(-1, 1, 2)
