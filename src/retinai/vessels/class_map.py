"""The class map of a photograph: uint8 of its size, which pixel belongs to which kind of vessel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from retinai.data.photographs.field_of_view import FieldOfView

NONE, ARTERY, VEIN, BOTH = 0, 1, 2, 3  # BOTH: a crossing, or a vessel of which nobody can tell the kind
_COLOURS = np.array([(0, 0, 0), (235, 50, 40), (60, 90, 255), (60, 200, 80)], np.uint8)
_OVERLAY_SIDE = 1600


@dataclass(frozen=True)
class VesselNumbers:
    """What a class map says in numbers.

    Args:
        density: Share of the field of view that is vessel, 0 to 1.
        artery: Share of the field of view that is artery (without BOTH).
        vein: Share of the field of view that is vein (without BOTH).
        uncertain: Share of the vessels that is BOTH; NaN without vessels.
    """

    density: float
    artery: float
    vein: float
    uncertain: float


def inside_mask(view: FieldOfView, height: int, width: int) -> np.ndarray:
    """Return the field of view as a mask of its photograph, bool, (height, width)."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(view.outline - 0.5).astype(np.int32), 1)
    return mask.astype(bool)


def measure_vessels(classes: np.ndarray, inside: np.ndarray) -> VesselNumbers:
    """Return the numbers of a class map.

    Args:
        classes: uint8, (H, W).
        inside: The field of view, bool, (H, W).
    """
    counts = np.bincount(classes[inside], minlength=4).astype(float)
    area, vessels = max(counts.sum(), 1.0), counts[1:].sum()
    uncertain = counts[BOTH] / vessels if vessels else float("nan")
    return VesselNumbers(vessels / area, counts[ARTERY] / area, counts[VEIN] / area, uncertain)


def regions(classes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the regions of a class map by name; a crossing belongs to arteries and to veins.

    Args:
        classes: uint8, any shape.

    Returns:
        `vessels`, and where the map tells arteries from veins anywhere also `arteries` and `veins`: bool, same shape.
    """
    found = {"vessels": classes > NONE}
    if np.isin(classes, (ARTERY, VEIN)).any():
        found |= {"arteries": np.isin(classes, (ARTERY, BOTH)), "veins": np.isin(classes, (VEIN, BOTH))}
    return found


def overlay(photograph: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return a photograph with its vessels in colours: arteries red, veins blue, both or uncertain green.

    Args:
        photograph: uint8 RGB, (H, W, 3).
        classes: uint8, (H, W).

    Returns:
        uint8 RGB; the longer side has at most 1600 pixels.
    """
    height, width = classes.shape
    scale = min(1.0, _OVERLAY_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(photograph, size, interpolation=cv2.INTER_AREA)
    kinds = cv2.resize(classes, size, interpolation=cv2.INTER_NEAREST_EXACT)
    mixed = (0.35 * small + 0.65 * _COLOURS[kinds]).astype(np.uint8)
    return np.where(kinds[..., None] > NONE, mixed, small)
