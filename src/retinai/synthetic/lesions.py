"""Lesions as shapes in eye coordinates, and how they are painted and turned into masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from retinai.synthetic.camera import Frame
from retinai.synthetic.canvas import Floats, Points, blur, draw_lines, fill_outlines

Kind = Literal[
    "microaneurysm",
    "haemorrhage",
    "hard_exudate",
    "soft_exudate",
    "irma",
    "neovascularisation",
    "preretinal_haemorrhage",
    "vitreous_haemorrhage",
    "drusen",
    "laser_spot",
    "atrophy",
    "pigment_clump",
]
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]

# Optical density per RGB channel of full strength, and (colour, opacity) of what is paler than the retina.
_DARK: dict[str, tuple[float, float, float]] = {
    "microaneurysm": (0.34, 1.0, 0.7),
    "haemorrhage": (0.42, 1.15, 0.95),
    "irma": (0.3, 0.85, 0.5),
    "neovascularisation": (0.26, 0.95, 0.5),
    "preretinal_haemorrhage": (0.5, 1.5, 1.3),
    "vitreous_haemorrhage": (0.55, 1.05, 0.8),
    "pigment_clump": (0.75, 0.8, 0.6),
}
_PALE: dict[str, tuple[tuple[float, float, float], float]] = {
    "atrophy": ((240, 206, 150), 0.75),
    "drusen": ((236, 190, 108), 0.7),
    "soft_exudate": ((242, 222, 186), 0.8),
    "hard_exudate": ((255, 226, 104), 0.95),
    "laser_spot": ((226, 190, 140), 0.75),
}
# Softness of a lesion's edge in radii of the field of view.
_SOFT = {
    "soft_exudate": 0.009,
    "haemorrhage": 0.0035,
    "vitreous_haemorrhage": 0.05,
    "drusen": 0.003,
    "atrophy": 0.006,
    "pigment_clump": 0.004,
    "preretinal_haemorrhage": 0.004,
}


@dataclass(frozen=True)
class Lesion:
    """One lesion in eye coordinates (see `Frame`).

    Args:
        kind: What it is.
        centre: Centre (x, y).
        outline: Closed outline, shape (K, 2); of a tangle of vessels, its hull.
        strength: How marked it is, 0 to 1.
        lines: Courses of its vessels, each of shape (K, 2) (IRMA and neovascularisation only).
    """

    kind: Kind
    centre: tuple[float, float]
    outline: Points
    strength: float = 1.0
    lines: tuple[Points, ...] = ()


@dataclass(frozen=True)
class Lesions:
    """All the lesions of one eye.

    Args:
        items: The lesions.
        fovea: Centre of the fovea; the four quadrants meet there.
        beaded: Quadrants with venous beading.
    """

    items: tuple[Lesion, ...] = ()
    fovea: tuple[float, float] = (0.0, 0.0)
    beaded: tuple[int, ...] = ()

    def of(self, *kinds: Kind) -> list[Lesion]:
        """Return the lesions of these kinds."""
        return [lesion for lesion in self.items if lesion.kind in kinds]

    def per_quadrant(self, *kinds: Kind) -> list[int]:
        """Return how many lesions of these kinds lie in each of the four quadrants."""
        found = self.of(*kinds)
        if not found:
            return [0, 0, 0, 0]
        where = quadrant(np.array([lesion.centre for lesion in found]), self.fovea)
        return [int(count) for count in np.bincount(where, minlength=4)]


def quadrant(points: Points, fovea: tuple[float, float]) -> npt.NDArray[np.int64]:
    """Return the quadrant of each point (K, 2): 0 superior nasal, 1 superior temporal, 2 inferior nasal, 3 the other.

    The quadrants meet at the fovea; in eye coordinates the nose lies towards larger x.
    """
    points = np.atleast_2d(points)
    return np.asarray((points[:, 0] < fovea[0]) + 2 * (points[:, 1] >= fovea[1]), dtype=np.int64)


def ragged_outline(
    rng: np.random.Generator,
    centre: Sequence[float] | Points,
    radius: float,
    aspect: float = 1.0,
    turn: float = 0.0,
    roughness: float = 0.15,
) -> Points:
    """Return a closed, irregular outline around a centre.

    Args:
        rng: Source of randomness.
        centre: Centre (x, y) in eye coordinates.
        radius: Mean radius across.
        aspect: Length along over width across.
        turn: Angle of the long axis in radians.
        roughness: Spread of the outline as a share of the radius; 0 gives an ellipse.

    Returns:
        Outline, shape (16, 2).
    """
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    bumps = rng.normal(0, roughness, 16) if roughness else np.zeros(16)
    reach = radius * np.clip(1 + 0.6 * bumps + 0.4 * np.roll(bumps, 1), 0.4, 1.8)
    along, across = aspect * reach * np.cos(angle), reach * np.sin(angle)
    x = along * np.cos(turn) - across * np.sin(turn)
    y = along * np.sin(turn) + across * np.cos(turn)
    return np.stack([centre[0] + x, centre[1] + y], axis=1)


def lesion_map(lesions: Lesions, kind: Kind, frame: Frame) -> Floats | None:
    """Return the strength of one kind of lesion over the frame, shape (H, W), 0 to 1; None if there is none."""
    found = lesions.of(kind)
    if not found:
        return None
    if kind in ("irma", "neovascularisation"):
        return _tangle_map(found, frame)
    canvas = np.zeros((frame.height, frame.width), dtype=np.uint8)
    fill_outlines(canvas, ((frame.to_pixels(x.outline), max(1, round(255 * x.strength))) for x in found))
    soft = _SOFT.get(kind, 0.0015)
    return blur(canvas.astype(np.float32) / np.float32(255), soft * frame.radius)


def paint_lesions(rng: np.random.Generator, retina: Floats, maps: dict[Kind, Floats]) -> Floats:
    """Paint lesions on the retina: blood absorbs light, exudates and drusen reflect it.

    Args:
        rng: Source of randomness.
        retina: RGB of shape (H, W, 3), 0 to 255.
        maps: What `lesion_map` returned for each kind that is there.
    """
    for kind, (colour, opacity) in _PALE.items():
        if kind in maps:
            tone = np.asarray(colour, dtype=np.float32) * np.float32(rng.uniform(0.94, 1.02))
            retina = retina + (opacity * maps[kind])[..., None] * (tone - retina)
    dark = [kind for kind in _DARK if kind in maps]
    if dark:
        depth = np.stack([maps[kind] for kind in dark], axis=-1)
        weights = np.array([_DARK[kind] for kind in dark], dtype=np.float32)
        retina = retina * np.exp(-depth @ weights)
    return np.asarray(retina, dtype=np.float32)


def lesion_masks(lesions: Lesions, maps: dict[Kind, Floats], frame: Frame) -> dict[Kind, npt.NDArray[np.bool_]]:
    """Return a mask for each kind of lesion that is there, shape (H, W); tangles of vessels by their hull."""
    masks: dict[Kind, npt.NDArray[np.bool_]] = {}
    for kind, painted in maps.items():
        if kind in ("irma", "neovascularisation"):
            canvas = np.zeros((frame.height, frame.width), dtype=np.uint8)
            fill_outlines(canvas, ((frame.to_pixels(x.outline), 255) for x in lesions.of(kind)))
            masks[kind] = canvas > 127
        else:
            masks[kind] = painted > 0.3
    return masks


def _tangle_map(found: Sequence[Lesion], frame: Frame) -> Floats:
    """Return the map of fine new or dilated vessels, drawn at twice the size and reduced."""
    canvas = np.zeros((frame.height * 2, frame.width * 2), dtype=np.uint8)
    draw_lines(
        canvas,
        (
            (frame.to_pixels(line, 2), np.full(len(line), 2 * frame.radius * (0.0045 + 0.0035 * lesion.strength)))
            for lesion in found
            for line in lesion.lines
        ),
    )
    small = cv2.resize(canvas, (frame.width, frame.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32) / np.float32(255)
