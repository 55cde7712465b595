"""Topology of a photograph: cubical persistence of its grey levels, drawn as persistence images.

Dark spots (microaneurysms, haemorrhages) are components of the sublevel sets, bright ones (exudates)
components of the superlevel sets; how far in grey levels a spot stands out is its persistence. Nothing
here needs torch, so that a clinic's machine computes the very images that training saw.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from retinai.data.fundus import find_field_of_view, prepare_photograph
from retinai.data.images import read_photograph
from retinai.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from retinai.data.preprocessing import Preprocessing

# Raised whenever the images that the same settings give change, so that no cache serves old ones.
TOPOLOGY_VERSION = 1
CHANNELS = ("sublevel_h0", "sublevel_h1", "superlevel_h0", "superlevel_h1")
_LEVELS = 256  # grey levels, and therefore births and deaths, are whole numbers from 0 to 255
_LAST = 255
_GREY = 128  # what Graham's contrast option puts outside the field of view
_NOTHING = 1e-16  # densities below it only make denormal numbers, which are slow to multiply
_MARGIN = 0.01  # of the side: pixels at the edge of the field of view are half dark
_OF_THE_NETWORK = ("fusion", "hidden", "width", "dropout")
# Where releases of gudhi keep their special case for rectangles of pixels.
_RECTANGLE = ("gudhi._pers_cub_low_dim_ext", "gudhi._pers_cub_low_dim")

Diagrams = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class TopologySettings:
    """Which persistence images are made of a photograph, and how the network reads them.

    Args:
        name: `none` or `cubical`.
        channel: `green`, in which lesions stand out most, or `grey`.
        size: Side in pixels that the prepared photograph is resized to, from 16.
        resolution: Side R of the persistence images.
        birth_range: First and last birth, in grey levels, at the centres of the outermost columns.
        persistence_range: The same for persistence and rows.
        sigma: Standard deviation of a point's Gaussian, in grey levels.
        weight: `linear` (by persistence, in grey levels) or `constant` (each point counts 1).
        min_persistence: Points that do not exceed it, in grey levels, are noise and left out.
        fusion: `concat` or `gated`, see `retinai.models.topology`.
        hidden: Widths of the branch's hidden layers.
        width: Features that the branch gives.
        dropout: Probability of dropping a hidden feature of the branch.

    Raises:
        ConfigError: With one sentence for each value that makes no sense.
    """

    name: str = "cubical"
    channel: str = "green"
    size: int = 224
    resolution: int = 32
    birth_range: tuple[float, float] = (0.0, 255.0)
    persistence_range: tuple[float, float] = (0.0, 128.0)
    sigma: float = 4.0
    weight: str = "linear"
    min_persistence: float = 2.0
    fusion: str = "concat"
    hidden: tuple[int, ...] = (256,)
    width: int = 128
    dropout: float = 0.2

    def __post_init__(self) -> None:
        # Numbers of one kind whatever the file says (4 or 4.0): the key of the cache is made of them.
        for key in ("birth_range", "persistence_range", "hidden"):
            value = getattr(self, key)
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise ConfigError([f"topology.{key}={value} is not a list of numbers"])
            object.__setattr__(self, key, tuple(int(v) if key == "hidden" else float(v) for v in value))
        for key in ("sigma", "min_persistence"):
            object.__setattr__(self, key, float(getattr(self, key)))
        problems = _problems(self)
        if problems:
            raise ConfigError(problems)

    @property
    def on(self) -> bool:
        """Whether there is topology at all."""
        return self.name != "none"

    def __str__(self) -> str:
        images = f"{len(CHANNELS)} images of {self.resolution} x {self.resolution}"
        return f"{self.name}, {self.channel} channel at {self.size} px, {images}, {self.fusion}"

    def key(self) -> str:
        """Return a short key of all that decides the images; how a network reads them does not."""
        values = {k: v for k, v in asdict(self).items() if k not in _OF_THE_NETWORK}
        return hashlib.sha256(json.dumps([TOPOLOGY_VERSION, values], sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for checkpoints and JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TopologySettings:
        """Rebuild from `to_dict`, or from the `topology` section of a configuration.

        Raises:
            ConfigError: If a key is unknown or a value makes no sense.
        """
        own = {key: value for key, value in values.items() if key != "_target_"}
        known = [field.name for field in fields(cls)]
        unknown = [key for key in own if key not in known]
        if unknown:
            raise ConfigError([f"topology does not know {key!r} (valid: {', '.join(known)})" for key in unknown])
        return cls(**own)


def _problems(s: TopologySettings) -> list[str]:
    """Return a sentence for each value that makes no sense."""
    problems = []
    choices = {"name": ("none", "cubical"), "channel": ("green", "grey"), "weight": ("linear", "constant"),
               "fusion": ("concat", "gated")}  # fmt: skip
    for key, valid in choices.items():
        if getattr(s, key) not in valid:
            problems.append(f"topology.{key}={getattr(s, key)} is unknown; valid: {', '.join(valid)}")
    for key, least in (("size", 16), ("resolution", 2), ("width", 1)):
        if not isinstance(getattr(s, key), int) or getattr(s, key) < least:
            problems.append(f"topology.{key}={getattr(s, key)} must be a whole number from {least}")
    for key in ("birth_range", "persistence_range"):
        bounds = getattr(s, key)
        if len(bounds) != 2 or not 0 <= bounds[0] < bounds[1] <= _LAST:
            problems.append(f"topology.{key}={list(bounds)} must be two rising numbers from 0 to {_LAST}")
    if not s.sigma > 0:
        problems.append(f"topology.sigma={s.sigma} must be more than 0")
    if not 0 <= s.min_persistence < _LAST:
        problems.append(f"topology.min_persistence={s.min_persistence} must lie between 0 and {_LAST}")
    if any(width < 1 for width in s.hidden):
        problems.append(f"topology.hidden={list(s.hidden)} must be widths from 1")
    if not 0 <= s.dropout < 1:
        problems.append(f"topology.dropout={s.dropout} must be from 0 up to, not including, 1")
    return problems


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
    return np.where(inside, plane, np.uint8(_LAST)), np.where(inside, _LAST - plane, np.uint8(_LAST))


def field_of_view(photograph: np.ndarray) -> np.ndarray:
    """Return the field of view of a prepared photograph as a mask, without its half-dark edge.

    It is found in the prepared pixels alone, so that it is the same with and without a cache.

    Args:
        photograph: Prepared pixels, uint8 RGB, (S, S, 3).

    Returns:
        Mask, bool, (S, S); all true where no field of view stands out.
    """
    side = photograph.shape[0]
    flat = (photograph == _GREY).all(axis=2)
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


class TopologyExtra:
    """The batch key `topology`: float32 (B, 4, R, R), from the cache or computed on the way.

    Args:
        settings: Which images.
        cache_dir: Folder of what `retinai prepare` computed; None computes always.
        preprocessing: How photographs are prepared for the network that takes the images; needed with a cache.
        name: The batch key.

    Raises:
        MissingExtraError: If gudhi is not installed.
    """

    def __init__(
        self,
        settings: TopologySettings,
        cache_dir: str | Path | None = None,
        preprocessing: Preprocessing | None = None,
        name: str = "topology",
    ) -> None:
        from retinai.data.topology_cache import TopologyCache

        engine()  # missing gudhi is told before anything is read
        self.name = name
        self.settings = settings
        self.preprocessing = preprocessing
        self.cache: TopologyCache | None = None
        if cache_dir is not None:
            if preprocessing is None:
                raise ValueError("a cache of topology belongs to prepared photographs: give preprocessing too")
            self.cache = TopologyCache(cache_dir, preprocessing, settings)

    def load(self, id: str, path: str, photograph: np.ndarray) -> np.ndarray:
        """Return the persistence images of one photograph, float32 (4, R, R).

        A photograph of another side than `preprocessing` says was prepared for another network (a student's,
        while the images are its teacher's); it is then read anew.
        """
        kept = self.cache.load(path) if self.cache is not None else None
        if kept is not None:
            return kept
        if self.preprocessing is not None and len(photograph) != self.preprocessing.input_size:
            photograph = prepare_photograph(read_photograph(path), self.preprocessing)
        return persistence_images(photograph, self.settings)

    def collate(self, values: list[Any]) -> Any:
        """Return the images of B photographs as a tensor, float32 (B, 4, R, R)."""
        import torch

        return torch.from_numpy(np.stack(values))
