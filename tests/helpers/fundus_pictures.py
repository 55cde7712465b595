"""Different pictures of a real retina: scikit-image's, turned, mirrored and a little darker."""

from __future__ import annotations

import io

import cv2
import numpy as np
import skimage.data
from PIL import Image


def fundus_pictures(count: int, side: int = 640) -> list[bytes]:
    """Return so many PNG files, all different."""
    whole = cv2.resize(skimage.data.retina(), (side, side), interpolation=cv2.INTER_AREA)
    found = []
    for number in range(count):
        turned = np.rot90(whole, number % 4)
        turned = turned[:, ::-1] if number // 4 % 2 else turned
        stream = io.BytesIO()
        Image.fromarray((turned * (1 - 0.03 * (number // 8))).astype(np.uint8)).save(stream, "PNG")
        found.append(stream.getvalue())
    return found
