"""A quickly drawn photograph for tests of reading, cropping and caching."""

import cv2
import numpy as np


def draw_eye(width=300, height=200, radius=90, centre=None, seed=0, level=1.0, border=3):
    """Return an RGB photograph: a lit disc with vessels and a bright optic disc on a dark border."""
    rng = np.random.default_rng(seed)
    x, y = centre or (width // 2, height // 2)
    image = np.full((height, width, 3), border, np.uint8)
    cv2.circle(image, (x, y), radius, (190, 90, 40), -1)
    for _ in range(12):
        ends = rng.normal((x, y), radius / 2, (2, 2)).astype(int)
        cv2.line(image, tuple(map(int, ends[0])), tuple(map(int, ends[1])), (110, 40, 25), max(1, radius // 30))
    cv2.circle(image, (x + radius // 2, y), radius // 6, (250, 220, 150), -1)
    yy, xx = np.mgrid[:height, :width]
    inside = (xx - x) ** 2 + (yy - y) ** 2 <= radius**2
    noise = rng.normal(0, 3, image.shape)
    lit = np.clip(image * level + noise, 0, 255)
    return np.where(inside[:, :, None], lit, np.clip(border + noise / 3, 0, 255)).astype(np.uint8)
