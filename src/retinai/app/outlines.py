"""Outlines of what the masks of a model show, to be laid over the picture of a photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from retinai.data.photographs.field_of_view import scaled_size
from retinai.data.photographs.original import Copy
from retinai.data.photographs.preprocessing import Preprocessing

# Regions of a mask that are drawn at most, the largest first: more would make the page slow and say nothing more.
_MOST = 200


@dataclass(frozen=True)
class Place:
    """Where the prepared square lies on the picture that is shown, in shares of the picture's sides.

    Args:
        left: Of the square's left edge.
        top: Of its upper edge.
        width: Of the square.
        height: Of the square.
    """

    left: float
    top: float
    width: float
    height: float


def place_of_square(copy: Copy, preprocessing: Preprocessing) -> Place:
    """Return where the square that a photograph is prepared to lies on the picture of its field of view.

    Args:
        copy: The photograph as it was decoded for these settings.
        preprocessing: Settings of the square.
    """
    shown = copy.field_of_view
    view = copy.found_for(preprocessing) or shown
    left, top, across, down = view.box
    if preprocessing.crop == "none":
        left, top, across, down = 0, 0, copy.pixels.shape[1], copy.pixels.shape[0]
    side = preprocessing.input_size
    scale = side / max(across, down)
    width, height = scaled_size(across, down, scale)
    # Pixels of the copy per pixel of the square, which is centred on black.
    x, y = across / width, down / height
    corner = left - (side - width) // 2 * x, top - (side - height) // 2 * y
    shown_left, shown_top, shown_width, shown_height = shown.box
    return Place(
        (corner[0] - shown_left) / shown_width, (corner[1] - shown_top) / shown_height,
        side * x / shown_width, side * y / shown_height,
    )  # fmt: skip


def outlines(
    planes: Mapping[str, np.ndarray], thresholds: Mapping[str, float], place: Place
) -> dict[str, tuple[str, ...]]:
    """Return the outlines of each mask as points of SVG polygons, in percent of the picture's sides.

    Args:
        planes: Probability of each pixel of the square, {name: float32 (S, S)}.
        thresholds: {name: from which probability on a pixel belongs to the mask}, every name.
        place: Where the square lies on the picture.

    Returns:
        {name: one text per connected region, the largest first}; empty where nothing is found.
    """
    found = {}
    for name, plane in planes.items():
        mask = (plane >= thresholds[name]).astype(np.uint8)
        regions, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        ordered = sorted(regions, key=cv2.contourArea, reverse=True)[:_MOST]
        found[name] = tuple(_points(region.reshape(-1, 2), mask.shape, place) for region in ordered)
    return found


def _points(corners: np.ndarray, shape: Sequence[int], place: Place) -> str:
    """Return the centres of a region's outer pixels; a region of one pixel gets a small square."""
    pixels = corners.astype(np.float64) + 0.5
    if len(pixels) < 3:
        pixels = np.concatenate([pixels + step for step in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))])
        pixels = pixels[np.argsort(np.arctan2(*(pixels - pixels.mean(axis=0)).T))]
    shares = pixels / (shape[1], shape[0]) * (place.width, place.height) + (place.left, place.top)
    return " ".join(f"{100 * x:.2f},{100 * y:.2f}" for x, y in shares)
