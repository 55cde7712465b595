"""From prepared bytes to what a network sees: the mean taken off, divided by the standard deviation, channels first."""

from __future__ import annotations

import numpy as np

from retinai.data.photographs.preprocessing import Preprocessing


def scale_and_shift(preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """Return what pixels of 0 to 255 are multiplied by, and what is added, each float32 (3,)."""
    mean, std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
    return 1 / (255 * std), -mean / std


def normalise(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Return prepared photographs, uint8 (B, S, S, 3), as float32 (B, 3, S, S)."""
    count, height, width, channels = images.shape
    out = np.empty((count, channels, height, width), np.float32)
    for channel, (scale, shift) in enumerate(zip(*scale_and_shift(preprocessing), strict=True)):
        plane = out[:, channel]
        np.multiply(images[..., channel], scale, out=plane)
        plane += shift
    return out
