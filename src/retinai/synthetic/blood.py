"""How blood in the vessels looks: arteries with their reflex, veins, and what high pressure makes of both."""

from __future__ import annotations

import cv2
import numpy as np

from retinai.synthetic.canvas import Floats, blur
from retinai.synthetic.vessels import VesselMaps

# Optical density per RGB channel of a vessel that is as wide as the map's full ink.
_ARTERY = np.array([0.1, 0.52, 0.5], dtype=np.float32)
_VEIN = np.array([0.28, 0.78, 0.7], dtype=np.float32)
_SILVER = np.array([252, 224, 178], dtype=np.float32)


def paint_blood(rng: np.random.Generator, retina: Floats, vessels: VesselMaps) -> Floats:
    """Let the vessels absorb light; arteries keep a pale line along their middle.

    Args:
        rng: Source of randomness.
        retina: Background with the disc, RGB of shape (H, W, 3).
        vessels: Maps of the vessels.
    """
    strength = float(rng.uniform(0.85, 1.15))
    reflex = 1 - np.float32(rng.uniform(0.3, 0.6)) * vessels.reflex
    depth = np.maximum((vessels.artery * reflex)[..., None] * _ARTERY, vessels.vein[..., None] * _VEIN)
    shadow = blur(np.maximum(vessels.artery, vessels.vein), 2.0)[..., None] * np.float32(0.08)
    return np.asarray(retina * np.exp(-strength * (depth + shadow)), dtype=np.float32)


def paint_silver_wires(rng: np.random.Generator, retina: Floats, vessels: VesselMaps, radius: float) -> Floats:
    """Paint the vessels of long-standing hypertension: arteries like silver wires that nick the veins they cross.

    The thickened wall hides the blood, so that the reflex fills most of the artery, and presses the
    vein, which fades on both sides of the crossing (Scheie's grades 3 and 4 of arteriosclerosis).

    Args:
        rng: Source of randomness.
        retina: Background with the disc, RGB of shape (H, W, 3).
        vessels: Maps of the vessels, whose reflex covers most of each artery.
        radius: Radius of the field of view in pixels.
    """
    crossing = ((vessels.artery > 0.3) & (vessels.vein > 0.3)).astype(np.float32)
    side = max(3, 2 * round(0.02 * radius) + 1)
    pressed = blur(np.asarray(cv2.dilate(crossing, np.ones((side, side), np.uint8)), dtype=np.float32), 0.008 * radius)
    nicked = VesselMaps(vessels.artery, vessels.vein * (1 - np.float32(0.85) * pressed), vessels.reflex)
    retina = paint_blood(rng, retina, nicked)
    shine = np.float32(rng.uniform(0.7, 0.95)) * vessels.reflex[..., None]
    return np.asarray(retina + shine * (_SILVER - retina), dtype=np.float32)
