"""Evening out the contrast of a photograph: CLAHE of the lightness, and Graham's local colours."""

from __future__ import annotations

import cv2
import numpy as np

from retinai.data.photographs.preprocessing import GREY


def equalise_lightness(image: np.ndarray, clip_limit: float = 2.0, tiles: int = 8) -> np.ndarray:
    """Apply CLAHE to the lightness of CIELAB, so that hues stay.

    Args:
        image: Pixels, uint8, (H, W, 3), RGB.
        clip_limit: How far a histogram bin may exceed the mean before it is clipped.
        tiles: Tiles per side.

    Returns:
        Pixels, uint8, (H, W, 3).

    Source: Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV, 1994.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[:, :, 0] = cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(np.ascontiguousarray(lab[:, :, 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def subtract_local_colour(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return 4 x (pixel - local mean colour) + 128 inside the field of view, 128 outside.

    The local mean is a Gaussian with sigma = radius / 30 (10 pixels at Graham's radius of 300),
    taken over the field of view only, so that no bright rim appears and no edge need be cut off.

    Args:
        image: Pixels, uint8, (S, S, 3).
        inside: Field of view, bool, (S, S).

    Returns:
        Pixels, uint8, (S, S, 3).

    Source: Graham, "Kaggle Diabetic Retinopathy Detection competition report", 2015, section 2.
    """
    columns = np.flatnonzero(inside.any(axis=0))
    rows = np.flatnonzero(inside.any(axis=1))
    sigma = max(np.ptp(columns), np.ptp(rows)) / 2 / 30 if columns.size else 1.0
    weight = inside.astype(np.float32)
    colour = image.astype(np.float32)
    total = cv2.GaussianBlur(colour * weight[:, :, None], (0, 0), max(sigma, 0.5))
    share = cv2.GaussianBlur(weight, (0, 0), max(sigma, 0.5))
    mean = total / np.maximum(share, 1e-6)[:, :, None]
    evened = np.clip(np.rint(4 * (colour - mean) + GREY), 0, 255)
    return np.where(inside[:, :, None], evened, GREY).astype(np.uint8)
