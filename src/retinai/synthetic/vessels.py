"""Arteries and veins as trees: they leave the disc along the arcades, taper, branch and spare the fovea."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from retinai.synthetic.anatomy import Eye
from retinai.synthetic.camera import Frame
from retinai.synthetic.canvas import Floats, Points, draw_lines

# Vessels are drawn on a canvas twice the frame and reduced, so that widths of half a pixel show.
_SUPERSAMPLING = 2
_THINNEST = 0.0034
_AVASCULAR = 0.13


@dataclass(frozen=True)
class Vessel:
    """One vessel from its origin to its end, with the vessels that leave it.

    Args:
        points: Course in eye coordinates, shape (K, 2).
        widths: Width at each point in radii, shape (K,).
        branches: The vessels that leave this one.
    """

    points: Points
    widths: npt.NDArray[np.float64]
    branches: list[Vessel] = field(default_factory=list)

    def walk(self) -> list[Vessel]:
        """Return this vessel and everything that leaves it."""
        return [self, *(v for branch in self.branches for v in branch.walk())]


@dataclass(frozen=True)
class VesselMaps:
    """Vessels as pictures, each of shape (H, W), 0 to 1: arteries, veins, and the arteries' central reflex."""

    artery: Floats
    vein: Floats
    reflex: Floats


def grow_vessels(rng: np.random.Generator, eye: Eye, beaded: Sequence[int] = ()) -> tuple[list[Vessel], list[Vessel]]:
    """Return the trunks of the arteries and of the veins, with their branches.

    Args:
        rng: Source of randomness.
        eye: Anatomy.
        beaded: Quadrants (0 to 3, see `lesions.quadrant`) whose veins are beaded.
    """
    shared = rng.uniform([0.5, 0.5, 0.35, 0.35], [0.66, 0.66, 0.75, 0.75])
    trees = []
    for kind, width in (("artery", eye.artery_width), ("vein", eye.vein_width)):
        trunks = []
        for place in range(4):
            course = _trunk(rng, eye, place, float(shared[place]) + float(rng.normal(0, 0.035)))
            taper = np.linspace(1, 0.4, len(course))
            # The nasal field is smaller and so are its vessels.
            main = width * float(rng.uniform(0.85, 1.1)) * (1.0 if place < 2 else 0.68)
            trunk = _clip(eye, course, main * taper)
            _sprout(rng, eye, trunk, depth=0)
            trunks.append(trunk)
        trunks += [_twig_to_macula(rng, eye, width * 0.3) for _ in range(2)]
        trees.append([_bead(v, eye, beaded) for v in trunks] if kind == "vein" and beaded else trunks)
    return trees[0], trees[1]


def paint_vessels(
    arteries: Sequence[Vessel], veins: Sequence[Vessel], frame: Frame, silver: bool = False
) -> VesselMaps:
    """Draw the trees as maps of the frame.

    Args:
        arteries: Trunks of the arteries.
        veins: Trunks of the veins.
        frame: Where the field of view lies.
        silver: The reflex covers most of each artery but the smallest, as in hypertension.
    """
    artery = [v for trunk in arteries for v in trunk.walk()]
    vein = [v for trunk in veins for v in trunk.walk()]
    share, thinnest = (0.7, 0.004) if silver else (0.3, 0.011)
    wide = [Vessel(v.points, v.widths * share) for v in artery if v.widths[0] > thinnest]
    return VesselMaps(*(_paint(vessels, frame) for vessels in (artery, vein, wide)))


def _paint(vessels: Sequence[Vessel], frame: Frame) -> Floats:
    canvas = np.zeros((frame.height * _SUPERSAMPLING, frame.width * _SUPERSAMPLING), dtype=np.uint8)
    pixels = frame.radius * _SUPERSAMPLING
    draw_lines(canvas, ((frame.to_pixels(v.points, _SUPERSAMPLING), v.widths * pixels) for v in vessels))
    small = cv2.resize(canvas, (frame.width, frame.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def _trunk(rng: np.random.Generator, eye: Eye, place: int, height: float) -> Points:
    """Return the course of a main vessel: 0 and 1 the temporal arcades (up, down), 2 and 3 the nasal ones."""
    up = -1.0 if place % 2 == 0 else 1.0
    s = np.linspace(0, 1, 60)
    if place < 2:
        # The temporal arcade rises steeply, bends round the macula and closes in behind it.
        x = -1.75 * s
        y = up * height * (1 - np.exp(-7.0 * s)) * (1 - 0.45 * s**2)
    else:
        x = 0.95 * s**1.15
        y = up * height * s**0.8
    wave = rng.uniform(0, 2 * np.pi, 3)
    amplitude = 0.012 * eye.tortuosity * np.minimum(1, s * 4)
    winding = amplitude * (np.sin(9 * s + wave[0]) + 0.7 * np.sin(21 * s + wave[1]) + 0.3 * np.sin(41 * s + wave[2]))
    start = np.array(eye.disc) + rng.normal(0, 0.12 * eye.disc_radius, 2)
    return np.stack([start[0] + x + 0.5 * winding, start[1] + y + winding], axis=1)


def _twig_to_macula(rng: np.random.Generator, eye: Eye, width: float) -> Vessel:
    """Return a small vessel that runs from the disc straight towards the macula."""
    heading = float(np.pi + rng.uniform(-0.5, 0.5))
    return _shoot(rng, eye, np.array(eye.disc), heading, float(rng.uniform(-0.5, 0.5)), width, 0.62)


def _sprout(rng: np.random.Generator, eye: Eye, parent: Vessel, depth: int) -> None:
    """Add branches to a vessel, on alternating sides, thinner than it is where they leave it.

    The width at a fork follows Murray's law loosely (daughters of 0.4 to 0.7 of the parent).
    """
    count = (8, 4, 2)[depth]
    steps = len(parent.points)
    if steps < 6:
        return
    side = float(rng.choice([-1.0, 1.0]))
    for where in (np.arange(count) + rng.uniform(0.2, 0.9, count)) / count:
        at = min(steps - 2, int(where * steps))
        width = float(parent.widths[at]) * float(rng.uniform(0.4, 0.68))
        side = -side
        if width < _THINNEST:
            continue
        step = parent.points[at + 1] - parent.points[at]
        heading = float(np.arctan2(step[1], step[0])) + side * float(rng.uniform(0.45, 0.95))
        length = float(rng.uniform(32, 75)) * width
        branch = _shoot(rng, eye, parent.points[at], heading, -side * float(rng.uniform(-0.1, 1.0)), width, length)
        if depth < 2:
            _sprout(rng, eye, branch, depth + 1)
        parent.branches.append(branch)


def _shoot(
    rng: np.random.Generator, eye: Eye, origin: Points, heading: float, bend: float, width: float, length: float
) -> Vessel:
    """Return a vessel that starts at `origin` and winds along a bending course."""
    steps = max(6, int(length / 0.022))
    s = np.linspace(0, 1, steps)
    wander = np.cumsum(rng.normal(0, 0.1 * eye.tortuosity, steps))
    angle = heading + bend * s + wander - wander[0]
    moves = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (length / steps)
    points = np.concatenate([origin[None], origin + np.cumsum(moves[:-1], axis=0)])
    return _clip(eye, points, width * np.linspace(1, 0.5, steps))


def _clip(eye: Eye, points: Points, widths: npt.NDArray[np.float64]) -> Vessel:
    """End a vessel where it leaves the field of view or reaches the avascular zone."""
    out = np.hypot(points[:, 0], points[:, 1]) > 1.05
    out |= np.hypot(points[:, 0] - eye.fovea[0], points[:, 1] - eye.fovea[1]) < _AVASCULAR
    end = int(np.argmax(out)) if out.any() else len(points)
    end = max(2, end)
    return Vessel(points[:end], widths[:end])


def _bead(trunk: Vessel, eye: Eye, beaded: Sequence[int]) -> Vessel:
    """Swell and narrow a vein like a string of beads where it crosses the given quadrants."""
    from retinai.synthetic.lesions import quadrant

    # Points close enough together that each bead is drawn by several.
    dense = np.linspace(0, len(trunk.points) - 1, len(trunk.points) * 5)
    steps = np.arange(len(trunk.points))
    points = np.stack([np.interp(dense, steps, trunk.points[:, axis]) for axis in (0, 1)], axis=1)
    widths = np.interp(dense, steps, trunk.widths)
    along = np.r_[0, np.cumsum(np.hypot(*np.diff(points, axis=0).T))]
    here = np.isin(quadrant(points, eye.fovea), list(beaded)) & (widths > 0.01)
    widths = widths * np.where(here, 1.15 + 0.75 * np.sin(2 * np.pi * along / 0.085), 1.0)
    return Vessel(points, widths, trunk.branches)
