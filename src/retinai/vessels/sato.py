"""Vessels without any weights: Sato's ridge filter on the green channel. It cannot tell arteries from veins."""

from __future__ import annotations

from importlib.util import find_spec

import cv2
import numpy as np

from retinai.data.photographs.field_of_view import FieldOfView, scaled_size
from retinai.errors import MissingExtraError
from retinai.vessels.class_map import BOTH, NONE, inside_mask

SIDE = 512  # longer side of the field of view that the filter sees, in pixels
_CLIP_LIMIT = 0.02  # of the equalisation
_SIGMAS = (1, 2, 3)  # half widths of the vessels that are looked for, in pixels
_EDGE = 0.03  # a border of so much of the side is left out: the edge of the field of view is a ridge too
_LEAST = 50  # connected regions of fewer pixels are noise


class SatoVessels:
    """Class maps by Sato's filter (Sato et al., 1998, of scikit-image), Otsu's threshold, and no small regions.

    Every vessel is of an uncertain kind (3).

    Raises:
        MissingExtraError: If scikit-image is not installed.
    """

    key = "sato-1"

    def __init__(self) -> None:
        if find_spec("skimage") is None:  # told before anything is read
            raise MissingExtraError("skimage", "vessels")

    def segment(self, photograph: np.ndarray, view: FieldOfView, path: str = "") -> np.ndarray:
        """Return the class map of a photograph, see `VesselMethod.segment`."""
        left, top, width, height = view.box
        scale = min(1.0, SIDE / max(width, height))
        size = scaled_size(width, height, scale)
        green = cv2.resize(photograph[top : top + height, left : left + width, 1], size, interpolation=cv2.INTER_AREA)
        inside = inside_mask(view, *photograph.shape[:2])
        part = inside[top : top + height, left : left + width].astype(np.uint8)
        ridges = _ridges(green, cv2.resize(part, size, interpolation=cv2.INTER_NEAREST_EXACT) > 0)
        classes = np.zeros(photograph.shape[:2], np.uint8)
        # The filter's answer is made large, not the mask, so that vessels have smooth edges.
        large = cv2.resize(ridges, (width, height), interpolation=cv2.INTER_LINEAR)
        classes[top : top + height, left : left + width] = np.where(large > 0, np.uint8(BOTH), np.uint8(NONE))
        return np.where(inside, classes, np.uint8(NONE))


def _ridges(green: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the filter's answer less the threshold, float32, (h, w); not above 0 where there is no vessel."""
    from skimage.exposure import equalize_adapthist
    from skimage.filters import sato, threshold_otsu

    filled = np.where(inside, green, np.uint8(np.median(green[inside]) if inside.any() else 0))
    answer = sato(equalize_adapthist(filled, clip_limit=_CLIP_LIMIT), sigmas=_SIGMAS, black_ridges=True)
    border = max(1, round(_EDGE * max(green.shape)))
    framed = cv2.copyMakeBorder(inside.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * border + 1, 2 * border + 1))
    kept = cv2.erode(framed, kernel)[1:-1, 1:-1] > 0
    above = answer - (threshold_otsu(answer[kept]) if kept.any() else np.inf)
    count, labels = cv2.connectedComponents(((above > 0) & kept).astype(np.uint8), connectivity=8)
    large = np.bincount(labels.ravel(), minlength=count) >= _LEAST
    large[0] = False
    return np.where(large[labels], above, np.minimum(above, 0)).astype(np.float32)
