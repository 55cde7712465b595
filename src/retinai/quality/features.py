"""What a photograph's quality shows in: numbers of its field of view, which flips do not change.

All are taken at one scale, so that they mean the same for every camera: the field of view is 384 pixels long.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from retinai.data.photographs.field_of_view import FieldOfView

SIDE = 384
NAMES = (
    "fine_detail", "middle_detail", "contrast", "direction", "lightness", "dark_share", "bright_share", "unevenness",
    "chroma", "darkest", "length_to_width", "fill", "ridges_dark", "ridges_bright", "red_to_green", "green_to_blue",
)  # fmt: skip
_LEAST = 1e-3  # of grey levels and of shares, below which a logarithm says no more


def quality_features(image: NDArray[np.uint8], view: FieldOfView) -> NDArray[np.float64]:
    """Return the features of `NAMES`, shape (16,).

    Detail: energy of neighbouring scales (Gaussians of 1, 2, 4 and 8 pixels) of the green channel, in logarithms of
    their ratio, so that blur shows whatever the contrast. Direction: ratio of the eigenvalues of the mean structure
    tensor, which one direction of motion raises. Light: of L* in CIELAB. Ridges: mean positive curvature across dark
    lines (vessels) and bright ones.

    Args:
        image: Photograph, uint8, (H, W, 3), RGB.
        view: Its field of view.
    """
    square, mask = _cropped(image, view)
    green = square[:, :, 1].astype(np.float32)
    levels = [cv2.GaussianBlur(green, (0, 0), sigma) for sigma in (1, 2, 4, 8)]
    bands = [_mean(np.abs(a - b), mask) for a, b in zip([green, *levels[:-1]], levels, strict=True)]
    values = [np.log((bands[0] + _LEAST) / (bands[2] + _LEAST)), np.log((bands[1] + _LEAST) / (bands[3] + _LEAST))]
    values.append(np.log((_mean(np.abs(levels[0] - levels[3]), mask) + _LEAST) / (_mean(green, mask) + 1)))
    values.append(_direction(levels[0], mask))
    values += [*_light(square, mask), *_shape(view)]
    values += [*_ridges(levels[1], mask, _mean(green, mask)), *_colours(square, mask)]
    return np.array(values, dtype=np.float64)


def _cropped(image: NDArray[np.uint8], view: FieldOfView) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the field of view at the scale of the features, and where it is, without its rim."""
    left, top, width, height = view.box
    scale = SIDE / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image[top : top + height, left : left + width], size, interpolation=method)
    corners = (view.outline - (left, top)) * (size[0] / width, size[1] / height)
    mask = np.zeros(small.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.rint(corners - 0.5).astype(np.int32), 1)
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inside = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=SIDE // 32)[1:-1, 1:-1].astype(bool)
    return small.astype(np.uint8), inside if inside.any() else np.ones_like(inside)


def _mean(values: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    return float(values[mask].mean())


def _direction(green: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    across, down = cv2.Sobel(green, cv2.CV_32F, 1, 0), cv2.Sobel(green, cv2.CV_32F, 0, 1)
    xx, yy, xy = (_mean(a * b, mask) for a, b in ((across, across), (down, down), (across, down)))
    spread = float(np.hypot(xx - yy, 2 * xy))
    return float(np.log((xx + yy + spread + _LEAST) / (xx + yy - spread + _LEAST)))


def _light(square: NDArray[np.uint8], mask: NDArray[np.bool_]) -> list[float]:
    lab = cv2.cvtColor(square.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    light, chroma = lab[:, :, 0], np.hypot(lab[:, :, 1], lab[:, :, 2])
    mean = _mean(light, mask)
    broad = cv2.GaussianBlur(light, (0, 0), SIDE / 16)[mask]
    brightest = square.max(axis=2)
    dark, bright = float((light[mask] < 8).mean()), float((brightest[mask] > 250).mean())
    return [
        mean / 100, float(np.sqrt(dark)), float(np.sqrt(bright)), float(broad.std()) / (mean + 1),
        _mean(chroma, mask) / 100, float(np.percentile(square.min(axis=2)[mask], 25)) / 255,
    ]  # fmt: skip


def _shape(view: FieldOfView) -> list[float]:
    """Return how long the field of view is against its width, and how much of an ellipse in its box it fills."""
    long, short = max(view.width, view.height), min(view.width, view.height)
    fill = float(cv2.contourArea(view.outline)) / (np.pi / 4 * view.width * view.height)
    return [float(np.log(long / short)), fill]


def _ridges(green: NDArray[Any], mask: NDArray[np.bool_], mean: float) -> list[float]:
    xx, yy = cv2.Sobel(green, cv2.CV_32F, 2, 0), cv2.Sobel(green, cv2.CV_32F, 0, 2)
    xy = cv2.Sobel(green, cv2.CV_32F, 1, 1)
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    dark = _mean(np.maximum(middle + spread, 0), mask)
    bright = _mean(np.maximum(spread - middle, 0), mask)
    return [float(np.log((dark + _LEAST) / (mean + 1))), float(np.log((bright + _LEAST) / (dark + _LEAST)))]


def _colours(square: NDArray[np.uint8], mask: NDArray[np.bool_]) -> list[float]:
    red, green, blue = (float(square[:, :, channel][mask].mean()) + 1 for channel in range(3))
    return [float(np.log(red / green)), float(np.log(green / blue))]
