"""The photographs that a stress test shows: degraded, smaller, of other colours, turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from retinai.data.photographs.field_of_view import FieldOfView
from retinai.quality.degradations import KINDS, degrade

ROTATION, RESOLUTION, COLOUR = "rotation", "resolution", "colour"
ANGLES = tuple(range(30, 360, 30))
SEVERITIES = (1, 2, 3, 4, 5)
# Pixels of the field of view that are left of the photograph, and the shift between red and blue, by severity.
_SIDES = (0, 512, 256, 160, 112, 80)
_SHIFTS = (0.0, 0.05, 0.1, 0.17, 0.26, 0.38)


@dataclass(frozen=True)
class Variant:
    """One way of showing a photograph.

    Args:
        kind: A kind of degradation, `resolution`, `colour` or `rotation`; empty: as it is.
        severity: 1 to 5, or the angle in degrees; 0: as it is.
    """

    kind: str = ""
    severity: int = 0

    @property
    def name(self) -> str:
        """A short name, different for each."""
        return f"{self.kind or 'plain'}_{self.severity}"


def all_variants(severities: Sequence[int] = SEVERITIES, angles: Sequence[int] = ANGLES) -> list[Variant]:
    """Return the photograph as it is, then every kind at every severity, then the turns."""
    kinds = [*KINDS, RESOLUTION, COLOUR]
    changed = [Variant(kind, severity) for kind in kinds for severity in severities]
    return [Variant(), *changed, *(Variant(ROTATION, angle) for angle in angles)]


def vary(image: NDArray[np.uint8], variant: Variant, seed: int, view: FieldOfView) -> NDArray[np.uint8]:
    """Return a photograph in another way; severity 0 is the very same array.

    Args:
        image: Photograph, uint8, (H, W, 3), RGB.
        variant: How.
        seed: Decides directions and places.
        view: Its field of view.
    """
    if variant.severity == 0:
        return image
    if variant.kind == ROTATION:
        return _turned(image, variant.severity, view)
    if variant.kind == RESOLUTION:
        return _coarser(image, variant.severity, view)
    if variant.kind == COLOUR:
        shift = _SHIFTS[variant.severity] * (1 if seed % 2 else -1)
        return np.clip(image * np.array([1 + shift, 1.0, 1 - shift]), 0, 255).astype(np.uint8)
    return degrade(image, variant.kind, variant.severity, seed, view)


def _turned(image: NDArray[np.uint8], degrees: int, view: FieldOfView) -> NDArray[np.uint8]:
    """Return the photograph turned about the middle of its field of view, in a frame that holds all of it."""
    centre = (view.left + view.width / 2, view.top + view.height / 2)
    side = int(np.ceil(np.hypot(view.width, view.height)))
    matrix = np.array(cv2.getRotationMatrix2D(centre, degrees, 1.0), dtype=np.float64)
    matrix[:, 2] += side / 2 - np.array(centre)
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR).astype(np.uint8)


def _coarser(image: NDArray[np.uint8], severity: int, view: FieldOfView) -> NDArray[np.uint8]:
    scale = _SIDES[severity] / max(view.width, view.height)
    if scale >= 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8)
