"""Tortuosity and fractal dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import divide
from retinai.vessels.biomarkers.segments import Segment, smoothed

_SMOOTHING = 6.0  # pixels along a course, before it is differentiated twice


def tortuosity(found: Sequence[Segment]) -> float:
    """Return arc over chord minus 1, as the mean over the length of all vessels; 0 is straight, NaN without vessels.

    Source: Lotmar, Freiburghaus and Bracher, "Measurement of vessel tortuosity on fundus photographs", Graefes 1979.
    """
    inner = [one.inner for one in found if one.inner.chord > 0]
    arcs, chords = (np.array([getattr(one, name) for one in inner]) for name in ("arc", "chord"))
    return float(divide((arcs * (arcs / chords - 1)).sum(), arcs.sum())) if len(arcs) else float("nan")


def squared_curvature(found: Sequence[Segment]) -> float:
    """Return the integral of the squared curvature times the length, as the mean over the length of all vessels.

    It has no unit: of a circular arc it is the square of its angle in radians. NaN without vessels.

    Source: Hart et al., "Measurement and classification of retinal vascular tortuosity", Int. J. Med. Inform. 1999.
    """
    arcs, values = [], []
    for one in [segment.inner for segment in found]:
        steps = np.diff(smoothed(one.points, _SMOOTHING), axis=0)
        lengths = np.hypot(*steps.T)
        angles = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
        between = np.maximum((lengths[1:] + lengths[:-1]) / 2, 1e-9)
        arcs.append(one.arc)
        values.append(float(((np.diff(angles) / between) ** 2 * between).sum()) * one.arc)
    total = np.array(arcs)
    return float(divide((total * np.array(values)).sum(), total.sum())) if len(total) else float("nan")


def fractal_dimension(mask: NDArray[np.bool_]) -> float:
    """Return the box-counting dimension of a mask, 0 to 2; NaN of an empty one.

    Boxes have sides of 2, 4, 8 and so on up to a fourth of the shorter side; the dimension is the slope of log(count)
    over log(1 / side). It depends on the resolution of the photograph and is compared between photographs of one only.

    Args:
        mask: bool, (H, W).
    """
    if not mask.any():
        return float("nan")
    rows, columns = np.nonzero(mask)
    mask = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    sides = [2**k for k in range(1, 12) if 2**k <= max(min(mask.shape) // 4, 4)]
    counts = []
    for side in sides:
        height, width = (-(-length // side) * side for length in mask.shape)
        padded = np.zeros((height, width), bool)
        padded[: mask.shape[0], : mask.shape[1]] = mask
        counts.append(padded.reshape(height // side, side, width // side, side).any(axis=(1, 3)).sum())
    if len(sides) < 2:
        return float("nan")
    return float(-np.polyfit(np.log(sides), np.log(counts), 1)[0])
