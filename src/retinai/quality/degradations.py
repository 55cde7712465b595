"""What goes wrong when a photograph is taken or stored, drawn onto good ones at severities from 0 to 5.

Lengths are shares of the longer side of the field of view, so that a severity means the same at every resolution;
severity 0 is the photograph itself. They are the truth against which the verdict on quality is fitted and tested.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from retinai.data.photographs.field_of_view import FieldOfView, find_field_of_view

Image = NDArray[np.uint8]
SEVERITIES = range(6)


def degrade(image: Image, kind: str, severity: int, seed: int = 0, view: FieldOfView | None = None) -> Image:
    """Return a degraded copy of a photograph, of the same size.

    Args:
        image: Photograph, uint8, (H, W, 3), RGB.
        kind: One of `KINDS`.
        severity: 0 (the photograph itself, unchanged) to 5.
        seed: Decides directions and places.
        view: The field of view, where it was looked for already.

    Raises:
        ValueError: If there is no such kind or severity.
    """
    if kind not in KINDS or severity not in SEVERITIES:
        raise ValueError(f"no degradation {kind!r} of severity {severity}; kinds: {', '.join(KINDS)}; 0 to 5")
    if severity == 0:
        return image
    view = view or find_field_of_view(image)
    changed = KINDS[kind](image, severity, np.random.default_rng([seed, severity]), view)
    return np.ascontiguousarray(np.clip(changed, 0, 255).astype(np.uint8))


def _side(view: FieldOfView) -> int:
    return max(view.width, view.height)


def _defocus(image: Image, severity: int, generator: np.random.Generator, view: FieldOfView) -> NDArray[Any]:
    sigma = (0, 0.0022, 0.0042, 0.007, 0.011, 0.018)[severity] * _side(view)
    return cv2.GaussianBlur(image, (0, 0), sigma).astype(np.float64)


def _motion(image: Image, severity: int, generator: np.random.Generator, view: FieldOfView) -> NDArray[Any]:
    length = max(2.0, (0, 0.008, 0.016, 0.027, 0.042, 0.065)[severity] * _side(view))
    angle = generator.uniform(0, np.pi)
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    ends = [
        (round(half + sign * np.cos(angle) * length / 2), round(half + sign * np.sin(angle) * length / 2))
        for sign in (-1, 1)
    ]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum()).astype(np.float64)


def _haze(image: Image, severity: int, generator: np.random.Generator, view: FieldOfView) -> NDArray[Any]:
    share = (0, 0.12, 0.25, 0.42, 0.58, 0.72)[severity]
    inside = _inside(image, view)
    broad = cv2.GaussianBlur(image, (0, 0), 0.012 * _side(view) * severity / 2).astype(np.float64)
    veil = np.array([185.0, 180.0, 170.0])
    return np.where(inside[:, :, None], (1 - share) * broad + share * veil, image)


def _dark(image: Image, severity: int, generator: np.random.Generator, view: FieldOfView) -> NDArray[Any]:
    return image * (1, 0.8, 0.6, 0.4, 0.26, 0.16)[severity]


def _bright(image: Image, severity: int, generator: np.random.Generator, view: FieldOfView) -> NDArray[Any]:
    inside = _inside(image, view)
    lifted = image * (1, 1.15, 1.4, 1.8, 2.4, 3.2)[severity] + (0, 3, 8, 16, 26, 40)[severity]
    return np.where(inside[:, :, None], lifted, image)


def _uneven(image: Image, severity: int, generator: np.random.Generator, view: FieldOfView) -> NDArray[Any]:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    angle = generator.uniform(0, 2 * np.pi)
    along = ((x - view.left - view.width / 2) * np.cos(angle) + (y - view.top - view.height / 2) * np.sin(angle)) / (
        _side(view) / 2
    )
    loss = (0, 0.2, 0.4, 0.65, 0.85, 0.97)[severity] / (1 + np.exp(-6 * along))
    return image * (1 - loss)[:, :, None]


def _cut(image: Image, severity: int, generator: np.random.Generator, view: FieldOfView) -> NDArray[Any]:
    """Cover a side of the field of view with black, as a lid or a badly placed eye does."""
    share = (0, 0.06, 0.14, 0.26, 0.38, 0.5)[severity]
    covered = image.astype(np.float64)
    if generator.random() < 0.5:
        width = round(share * view.width)
        at = view.left if generator.random() < 0.5 else view.left + view.width - width
        covered[:, max(0, at) : at + width] = 0
    else:
        height = round(share * view.height)
        at = view.top if generator.random() < 0.5 else view.top + view.height - height
        covered[max(0, at) : at + height] = 0
    return covered


def _jpeg(image: Image, severity: int, generator: np.random.Generator, view: FieldOfView) -> NDArray[Any]:
    quality = (95, 45, 25, 12, 7, 3)[severity]
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None  # it was written just now
    return decoded[:, :, ::-1].astype(np.float64)


def _inside(image: Image, view: FieldOfView) -> NDArray[np.bool_]:
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.rint(view.outline - 0.5).astype(np.int32), 1)
    return mask.astype(bool)


KINDS: dict[str, Callable[[Image, int, np.random.Generator, FieldOfView], NDArray[Any]]] = {
    "defocus": _defocus,
    "motion": _motion,
    "haze": _haze,
    "dark": _dark,
    "bright": _bright,
    "uneven": _uneven,
    "cut": _cut,
    "jpeg": _jpeg,
}
