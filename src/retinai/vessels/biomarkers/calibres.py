"""Calibres of the large vessels around the optic disc: CRAE, CRVE and their ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retinai.vessels.biomarkers.segments import Segment

LARGEST = 6  # vessels that count
FEWEST = 4  # with fewer, nothing is said
ZONE = (0.5, 1.0)  # disc diameters from the margin of the disc (zone B)
_CIRCLES = 15
_ARTERY, _VEIN = 0.88, 0.95


@dataclass(frozen=True)
class Disc:
    """The optic disc.

    Args:
        x: Middle, in pixels.
        y: Middle, in pixels.
        diameter: That of a circle of its area, in pixels.
    """

    x: float
    y: float
    diameter: float


@dataclass(frozen=True)
class Calibre:
    """What the large vessels of a kind amount to.

    Args:
        equivalent: Width of the one vessel that they would join to, in pixels; NaN with fewer than four.
        vessels: How many were measured, 6 at most; the median over the circles.
    """

    equivalent: float
    vessels: int


def equivalent(widths: Sequence[float], constant: float) -> float:
    """Return the width of the one vessel that several would join to.

    The widest and the narrowest are joined, then the next ones, and so on until one is left; in an odd number the one
    in the middle waits for the next round.

    Args:
        widths: In pixels, at least one.
        constant: 0.88 for arteries (CRAE), 0.95 for veins (CRVE).

    Source: Knudtson et al., "Revised formulas for summarizing retinal vessel diameters", Curr. Eye Res. 2003.
    """
    left = sorted(widths)
    while len(left) > 1:
        pairs = len(left) // 2
        joined = [constant * float(np.hypot(left[-1 - k], left[k])) for k in range(pairs)]
        left = sorted(joined + left[pairs : len(left) - pairs])
    return float(left[0])


def measure_calibre(found: Sequence[Segment], disc: Disc, kind: str) -> Calibre:
    """Return the calibre of a kind of vessels in zone B, 0.5 to 1 disc diameters from the disc's margin.

    On each of fifteen circles around the disc the six widest vessels that cross it are joined (`equivalent`), and the
    median over the circles is taken, so that no vessel counts twice because it is cut by a crossing.

    Args:
        found: Of `segments.segments`, of this kind alone.
        disc: The disc.
        kind: `artery` or `vein`.
    """
    constant = {"artery": _ARTERY, "vein": _VEIN}[kind]
    reaches = [_reach(one, disc) for one in found]
    values, counts = [], []
    for share in np.linspace(*ZONE, _CIRCLES):
        radius = disc.diameter * (0.5 + share)
        crossing = [one.width for one, (low, high) in zip(found, reaches, strict=True) if low <= radius <= high]
        largest = sorted(crossing)[-LARGEST:]
        counts.append(len(largest))
        if len(largest) >= FEWEST:
            values.append(equivalent(largest, constant))
    enough = len(values) > _CIRCLES // 2
    return Calibre(float(np.median(values)) if enough else float("nan"), int(np.median(counts)))


def _reach(one: Segment, disc: Disc) -> tuple[float, float]:
    distance = np.hypot(one.points[:, 0] - disc.x, one.points[:, 1] - disc.y)
    return float(distance.min()), float(distance.max())


def near(mask: NDArray[np.bool_], disc: Disc) -> NDArray[np.bool_]:
    """Return a mask cut to zone B, so that a vessel's width is that of its part there, bool (H, W)."""
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    distance = np.hypot(x - disc.x, y - disc.y) / disc.diameter - 0.5
    return mask & (distance >= ZONE[0]) & (distance <= ZONE[1])
