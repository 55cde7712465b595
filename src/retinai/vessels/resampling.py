"""Resizing of probability maps by cubic splines, exactly as `skimage.transform.resize(order=3)` does, in bands of rows.

The published results were made with that function, which takes seconds for each map of a native photograph. It is
linear and works on rows and columns apart, and each pixel is a sum of four spline coefficients along either: here
these sums are sparse matrices, made once for each size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

_MODE = "mirror"  # how lines go on beyond their ends; skimage's name for it is `reflect`


@lru_cache(maxsize=16)
def cubic_matrices(given: int, wanted: int) -> tuple[np.ndarray, Any]:
    """Return the two matrices that resize a line by cubic splines.

    Lines that become shorter are smoothed first, with the Gaussian that skimage chooses.

    Args:
        given: Pixels of the line.
        wanted: Pixels of the resized line.

    Returns:
        From pixels to spline coefficients, float32 (given, given), and from these to the resized line, a sparse matrix
        of scipy's, float32 (wanted, given).
    """
    from scipy import ndimage, sparse

    lines = np.eye(given)
    smooth = lines
    if wanted < given:
        smooth = ndimage.gaussian_filter1d(lines, max(0.0, (given / wanted - 1) / 2), axis=0, mode=_MODE)
    coefficients = ndimage.spline_filter1d(smooth, order=3, axis=0, mode=_MODE)
    options: dict[str, Any] = {"order": 3, "mode": _MODE, "prefilter": False, "grid_mode": True}
    sums = np.stack([ndimage.zoom(line, wanted / given, **options) for line in lines], axis=1)
    return coefficients.astype(np.float32), sparse.csr_array(sums.astype(np.float32))


class CubicResize:
    """Maps of one size resized to another, given out in bands of rows so that few of them are in memory.

    Args:
        maps: float32, (h, w) each.
        height: Rows of the resized maps.
        width: Columns of the resized maps.
    """

    def __init__(self, maps: Sequence[np.ndarray], height: int, width: int) -> None:
        rows, columns = maps[0].shape
        down, self._down = cubic_matrices(rows, height)
        across, wide = cubic_matrices(columns, width)
        self._wide = [np.ascontiguousarray((wide @ (down @ values @ across.T).T).T) for values in maps]
        # Splines overshoot at edges; skimage keeps to the range of what was given.
        self._ranges = [(float(values.min()), float(values.max())) for values in maps]

    def rows(self, top: int, bottom: int) -> list[np.ndarray]:
        """Return rows `top` to `bottom` (without it) of each resized map, float32, (bottom - top, width)."""
        part = self._down[top:bottom]
        return [np.clip(part @ wide, *limits) for wide, limits in zip(self._wide, self._ranges, strict=True)]
