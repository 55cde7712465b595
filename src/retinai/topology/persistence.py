"""Topology of a photograph: cubical persistence of its grey levels, drawn as persistence images.

Dark spots (microaneurysms, haemorrhages) are components of the sublevel sets, bright ones (exudates)
components of the superlevel sets; how far in grey levels a spot stands out is its persistence. Nothing
here needs torch, so that a clinic's machine computes the very images that training saw.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from retinai.data.photographs.field_of_view import find_field_of_view
from retinai.data.photographs.preprocessing import GREY
from retinai.errors import MissingExtraError
from retinai.topology.settings import LAST_LEVEL, TopologySettings

_LEVELS = LAST_LEVEL + 1  # births and deaths are whole numbers from 0 to 255
_NOTHING = 1e-16  # densities below it only make denormal numbers, which are slow to multiply
_MARGIN = 0.01  # of the side: pixels at the edge of the field of view are half dark
# Where releases of gudhi keep their special case for rectangles of pixels.
_RECTANGLE = ("gudhi._pers_cub_low_dim_ext", "gudhi._pers_cub_low_dim")

Diagrams = tuple[np.ndarray, np.ndarray]


def persistence_images(photograph: np.ndarray, settings: TopologySettings) -> np.ndarray:
    """Return the persistence images of a prepared photograph, in the order of `CHANNELS`.

    Args:
        photograph: Prepared pixels before augmentation, uint8 RGB, (S, S, 3).
        settings: Which images.

    Returns:
        float32, (4, R, R); rows are persistence, columns birth, both rising.

    Raises:
        MissingExtraError: If gudhi is not installed.
    """
    planes = filtrations(photograph, settings)
    diagrams = [d for plane in planes for d in cubical_diagrams(plane, settings.min_persistence)]
    return np.stack([persistence_image(diagram, settings) for diagram in diagrams])


def persistence_image(diagram: np.ndarray, settings: TopologySettings) -> np.ndarray:
    """Return the sum of weighted Gaussians, one at each point's birth and persistence.

    A Gaussian is a product of one in birth and one in persistence, and both are whole grey levels: the
    256 values of each lie in a table, and the sum over the points is one matrix product. It is exact.

    Args:
        diagram: Birth and death of N points, whole numbers from 0 to 255, (N, 2).
        settings: Ranges, resolution, sigma, weight and the least persistence.

    Returns:
        float32, (R, R); rows are persistence, columns birth, both rising.

    Source: Adams et al., "Persistence Images: A Stable Vector Representation of Persistent Homology",
        JMLR 18(8), 2017, section 4.
    """
    of_persistence, of_birth = _tables(settings)
    born, died = diagram.astype(np.intp).T
    return (of_persistence[died - born].T @ of_birth[born]).astype(np.float32)


def filtrations(photograph: np.ndarray, settings: TopologySettings) -> tuple[np.ndarray, np.ndarray]:
    """Return the grey levels by which pixels enter, in the sublevel and in the superlevel filtration.

    The superlevel filtration is the sublevel filtration of 255 minus the grey level. In both, all that
    lies outside the field of view enters last, so that the border neither joins nor closes anything.

    Args:
        photograph: Prepared pixels, uint8 RGB, (S, S, 3).
        settings: Channel and size.

    Returns:
        Two arrays, uint8, (size, size).
    """
    side = photograph.shape[0]
    if side != settings.size:
        method = cv2.INTER_AREA if side > settings.size else cv2.INTER_LINEAR
        photograph = cv2.resize(photograph, (settings.size, settings.size), interpolation=method)
    inside = field_of_view(photograph)
    plane = photograph[:, :, 1] if settings.channel == "green" else cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)
    return np.where(inside, plane, np.uint8(LAST_LEVEL)), np.where(inside, LAST_LEVEL - plane, np.uint8(LAST_LEVEL))


def field_of_view(photograph: np.ndarray) -> np.ndarray:
    """Return the field of view of a prepared photograph as a mask, without its half-dark edge.

    It is found in the prepared pixels alone, so that it is the same with and without a cache.

    Args:
        photograph: Prepared pixels, uint8 RGB, (S, S, 3).

    Returns:
        Mask, bool, (S, S); all true where no field of view stands out.
    """
    side = photograph.shape[0]
    flat = (photograph == GREY).all(axis=2)
    if np.concatenate([flat[0], flat[-1], flat[:, 0], flat[:, -1]]).mean() > 0.1:  # Graham's grey surround
        photograph = np.where(flat[:, :, None], np.uint8(0), photograph)
    view = find_field_of_view(photograph)
    if not view.found:
        return np.ones((side, side), bool)
    mask = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(view.outline - 0.5).astype(np.int32), 1)
    margin = max(1, round(_MARGIN * side))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    # Beyond the frame is outside too: a disc that just touches the frame has a dark edge there as well.
    return cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)


def cubical_diagrams(values: np.ndarray, min_persistence: float = 0.0) -> Diagrams:
    """Return the persistence diagrams of the sublevel filtration of pixels, in dimensions 0 and 1.

    Pixels are squares that touch along edges and at corners. The one component that never dies is left
    out: every photograph has exactly one, it only tells the very first grey level, and any death that
    we gave it would be an invention and, weighted by persistence, the heaviest point of all.

    Args:
        values: Filtration values, (H, W), both at least 3.
        min_persistence: Points that do not exceed it are left out.

    Returns:
        Two arrays (N, 2) of birth and death, float64, all finite.

    Raises:
        MissingExtraError: If gudhi is not installed.
    """
    components, loops = engine()(np.ascontiguousarray(values, dtype=np.float64), min_persistence)
    return components[np.isfinite(components[:, 1])], loops


@lru_cache(maxsize=1)
def engine() -> Callable[[np.ndarray, float], Any]:
    """Return gudhi's function for pixels; the general one, which is forty times slower, where need be.

    Raises:
        MissingExtraError: If gudhi is not installed.
    """
    if importlib.util.find_spec("gudhi") is None:
        raise MissingExtraError("gudhi", "topology")
    for name in _RECTANGLE:
        if importlib.util.find_spec(name) is not None:
            found = getattr(importlib.import_module(name), "_persistence_on_rectangle_from_top_cells", None)
            if found is not None:
                return found
    warnings.warn("this release of gudhi has no fast persistence of pixels; topology takes longer", stacklevel=2)
    return general_diagrams


def general_diagrams(values: np.ndarray, min_persistence: float = 0.0) -> list[np.ndarray]:
    """Return the diagrams in dimensions 0 and 1 by gudhi's general complex, as the fast case does.

    Args:
        values: Filtration values, float64, (H, W).
        min_persistence: Points that do not exceed it are left out.
    """
    from gudhi import CubicalComplex

    complex_ = CubicalComplex(top_dimensional_cells=values)
    complex_.compute_persistence(min_persistence=min_persistence)
    return [np.reshape(complex_.persistence_intervals_in_dimension(dimension), (-1, 2)) for dimension in (0, 1)]


@lru_cache(maxsize=8)
def _tables(settings: TopologySettings) -> tuple[np.ndarray, np.ndarray]:
    """Return each grey level's Gaussian by persistence, with the weights in it, and by birth, both (256, R)."""
    levels = np.arange(_LEVELS)
    weight = np.where(levels > settings.min_persistence, levels if settings.weight == "linear" else 1.0, 0.0)
    of_persistence = weight[:, None] * _gaussians(settings.persistence_range, settings)
    return of_persistence, _gaussians(settings.birth_range, settings)


def _gaussians(bounds: tuple[float, float], settings: TopologySettings) -> np.ndarray:
    """Return the normal density at each cell's centre of a point at each grey level, (256, R)."""
    centres = np.linspace(*bounds, settings.resolution)
    distance = (centres - np.arange(_LEVELS)[:, None]) / settings.sigma
    density = np.exp(-0.5 * distance**2) / (settings.sigma * np.sqrt(2 * np.pi))
    return np.where(density < _NOTHING, 0.0, density)
