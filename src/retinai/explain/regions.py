"""Does a map look where it should: average saliency intensity inside regions, against turned and mirrored ones.

The intensity of a region is the sum of the map over it divided by its area; its ratio is that to the intensity of the
rest of the field of view, which leaves out every region of the same family (an artery's rest holds no vein). Vessels
and lesions crowd where photographs are brightest and sharpest, so 1 is no neutral ratio: the same regions turned about
the middle of the view by random angles and mirrored give what a map that knows nothing of them would reach.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import bootstrap_weights, divide, interval

# Sums are linear, so masks are made smaller with fractions of pixels; more than this costs time and changes nothing.
LARGEST_SIDE = 224
TURNS = 200
_Key = TypeVar("_Key")
_ROUNDING = 1e-6  # of sums in single precision: turned regions that differ by less are as good


@dataclass(eq=False)
class RegionSums:
    """What is summed for one region, a number for each photograph that has it.

    Args:
        patients: Whose photograph it is.
        inside: Sum of the map over the region, and its area.
        rest: The same over the rest of the field of view.
        turned: For each of the turned regions, sum and area: arrays (TURNS, 2).
        turned_rest: The same over the rest around each of them.
        hit: Whether the map's maximum lies in the region.
        turned_hit: For each of the turned regions, whether it lies in it: bool arrays (TURNS,).
    """

    patients: list[str] = field(default_factory=list)
    inside: list[tuple[float, float]] = field(default_factory=list)
    rest: list[tuple[float, float]] = field(default_factory=list)
    turned: list[NDArray[np.float64]] = field(default_factory=list)
    turned_rest: list[NDArray[np.float64]] = field(default_factory=list)
    hit: list[bool] = field(default_factory=list)
    turned_hit: list[NDArray[np.bool_]] = field(default_factory=list)


class RegionMeter:
    """Measures maps of one method against regions, photograph by photograph, in bounded memory.

    Args:
        families: Family -> names of its regions, such as `lesions` -> microaneurysms, haemorrhages.
        turns: Turned regions for each photograph; 0 leaves `excess` and `p` out.
        seed: Of the turns.
    """

    def __init__(self, families: Mapping[str, Sequence[str]], turns: int = TURNS, seed: int = 0) -> None:
        self.families = {family: tuple(names) for family, names in families.items()}
        self.turns, self.seed = turns, seed
        self.sums: dict[str, RegionSums] = {}
        self.zero = 0
        self.photographs = 0

    def add(
        self,
        name: str,
        patient: str,
        saliency: NDArray[np.floating[Any]],
        masks: Mapping[str, NDArray[np.bool_]],
        inside: NDArray[np.bool_],
    ) -> None:
        """Measure one photograph; one whose map is zero everywhere is counted and left out.

        Args:
            name: Its id, part of the seed.
            patient: Whose it is.
            saliency: The map, (h, w); negative evidence counts as none.
            masks: Region -> mask at the side of the prepared photograph, (S, S).
            inside: Field of view, (S, S).
        """
        measure_maps({"": self}, name, patient, {"": saliency}, masks, inside)

    def results(self, resamples: int = 1000) -> dict[str, dict[str, Any]]:
        """Return the figures of each region that any photograph has.

        Args:
            resamples: Bootstrap resamples, whole patients at a time.

        Returns:
            Region -> `pooled` (ratio of the pooled intensities) and `mean` (mean of the photographs' ratios), each
            `{"value", "low", "high"}`; `excess`: the pooled ratio over the median of that of the turned regions; `p`:
            the share of turned regions that reach it, one-sided; `energy`: share of the map's sum in the region, and
            `energy_turned` in the median turned one; `pointing`: share of photographs whose maximum lies in it,
            `pointing_turned` for the turned ones, and `pointing_p` as `p`; `photographs` that have the region.
        """
        return {region: self._figures(sums, resamples) for region, sums in self.sums.items()}

    def _figures(self, sums: RegionSums, resamples: int) -> dict[str, Any]:
        inside, rest = np.array(sums.inside), np.array(sums.rest)
        weights = bootstrap_weights(sums.patients, resamples, self.seed).astype(np.float64)
        pooled = _ratio(weights @ inside, weights @ rest)
        single = _ratio(inside, rest)
        known = np.where(np.isnan(single), 0, single), ~np.isnan(single)
        means = divide(weights @ known[0], weights @ known[1].astype(float))
        found: dict[str, Any] = {"pooled": interval(pooled), "mean": interval(means), "excess": None, "p": None}
        if self.turns:
            null = _ratio(np.sum(sums.turned, axis=0), np.sum(sums.turned_rest, axis=0))
            null = null[~np.isnan(null)]
            if len(null) and not np.isnan(pooled[0]):
                middle = float(np.median(null))
                found["excess"] = float(pooled[0]) / middle if middle > 0 else None
                reached = null >= pooled[0] * (1 - _ROUNDING)
                found["p"] = float((1 + reached.sum()) / (1 + len(null)))
        found |= self._energy(sums, inside, rest) | self._pointing(sums)
        found["photographs"] = len(sums.patients)
        return found

    def _energy(
        self, sums: RegionSums, inside: NDArray[np.float64], rest: NDArray[np.float64]
    ) -> dict[str, float | None]:
        total = inside[:, 0].sum() + rest[:, 0].sum()
        found = {"energy": float(inside[:, 0].sum() / total) if total > 0 else None, "energy_turned": None}
        if self.turns:
            turned, around = np.sum(sums.turned, axis=0)[:, 0], np.sum(sums.turned_rest, axis=0)[:, 0]
            shares = divide(turned, turned + around)
            found["energy_turned"] = float(np.nanmedian(shares)) if not np.isnan(shares).all() else None
        return found

    def _pointing(self, sums: RegionSums) -> dict[str, float | None]:
        found: dict[str, float | None] = {"pointing": float(np.mean(sums.hit))}
        if not self.turns:
            return found | {"pointing_turned": None, "pointing_p": None}
        turned = np.mean(sums.turned_hit, axis=0)
        p = float((1 + (turned >= found["pointing"]).sum()) / (1 + len(turned)))
        return found | {"pointing_turned": float(turned.mean()), "pointing_p": p}


def measure_maps(
    meters: Mapping[_Key, RegionMeter],
    name: str,
    patient: str,
    maps: Mapping[_Key, NDArray[np.floating[Any]]],
    masks: Mapping[str, NDArray[np.bool_]],
    inside: NDArray[np.bool_],
) -> None:
    """Measure several maps of one photograph at once, so that its regions are turned once for all of them.

    Args:
        meters: One for each map, all with the same families, turns and seed.
        name: The photograph's id, part of the seed.
        patient: Whose it is.
        maps: (h, w) each; negative evidence counts as none. One that is zero everywhere is counted and left out.
        masks: Region -> mask at the side of the prepared photograph, (S, S).
        inside: Field of view, (S, S).
    """
    side = min(inside.shape[0], LARGEST_SIDE)
    view = _smaller(inside, side)
    heats: dict[_Key, NDArray[np.float32]] = {}
    for key, saliency in maps.items():
        heat = enlarge(np.maximum(np.asarray(saliency, np.float32), 0), side) * view
        meters[key].photographs += 1
        if heat.sum() > 0:
            heats[key] = heat
        else:
            meters[key].zero += 1
    if not heats:
        return
    first = meters[next(iter(heats))]
    matrices = _turns(name, view, first.turns, first.seed)
    small = {region: _smaller(mask & inside, side) for region, mask in masks.items()}
    for regions in first.families.values():
        present = {region: small[region] for region in regions if region in small and small[region].sum() > 0}
        if present:
            # The same turns for all regions of a family, so that they stay side by side.
            family = np.asarray(np.clip(np.sum(list(present.values()), axis=0), 0, view), np.float32)
            around = _sums(heats, view - _turned(family, matrices, view))
            for region, mask in present.items():
                _add(meters, patient, heats, region, mask, view - family, _turned(mask, matrices, view), around)


def _add(
    meters: Mapping[_Key, RegionMeter],
    patient: str,
    heats: Mapping[_Key, NDArray[np.float32]],
    region: str,
    mask: NDArray[np.float32],
    rest: NDArray[np.float32],
    turned: NDArray[np.float32],
    around: Mapping[_Key, NDArray[np.float64]],
) -> None:
    """Add what the maps of one photograph have in one region."""
    sums_turned = _sums(heats, turned)
    for key, heat in heats.items():
        sums = meters[key].sums.setdefault(region, RegionSums())
        peak = np.unravel_index(int(heat.argmax()), heat.shape)
        sums.patients.append(patient)
        sums.inside.append((float((heat * mask).sum()), float(mask.sum())))
        sums.rest.append((float((heat * rest).sum()), float(rest.sum())))
        sums.hit.append(bool(mask[peak] > 0.5))
        sums.turned.append(sums_turned[key])
        sums.turned_rest.append(around[key])
        sums.turned_hit.append(turned[:, peak[0], peak[1]] > 0.5)


def _sums(heats: Mapping[_Key, NDArray[np.float32]], planes: NDArray[np.float32]) -> dict[_Key, NDArray[np.float64]]:
    """Return for each map its sum over each of T planes and the plane's area, (T, 2)."""
    flat = planes.reshape(len(planes), planes.shape[1] * planes.shape[2])
    over = flat @ np.stack([heat.ravel() for heat in heats.values()], axis=1)
    areas = flat.sum(axis=1)
    return {key: np.stack([over[:, k], areas], axis=1).astype(np.float64) for k, key in enumerate(heats)}


def _turns(name: str, view: NDArray[np.float32], turns: int, seed: int) -> list[NDArray[np.float64]]:
    """Return the turns of a photograph about the middle of its view, half of them mirrored."""
    draw = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
    rows, columns = np.nonzero(view)
    centre = (float(columns.mean()), float(rows.mean()))
    matrices: list[NDArray[np.float64]] = []
    for _ in range(turns):
        matrix = cv2.getRotationMatrix2D(centre, float(draw.uniform(0, 360)), 1.0)
        if draw.random() < 0.5:
            matrix = np.asarray(matrix, np.float64) @ np.array([[-1, 0, 2 * centre[0]], [0, 1, 0], [0, 0, 1.0]])
        matrices.append(np.asarray(matrix, np.float64))
    return matrices


def _turned(
    mask: NDArray[np.float32], matrices: Sequence[NDArray[np.float64]], view: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a mask turned in each of T ways and cut at the field of view, (T, side, side)."""
    side = mask.shape[0]
    moved = np.empty((len(matrices), side, side), np.float32)
    for plane, matrix in zip(moved, matrices, strict=True):
        plane[:] = cv2.warpAffine(mask, matrix, (side, side), flags=cv2.INTER_LINEAR)
    moved *= view
    return moved


def _ratio(inside: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intensity of regions over that of their rest, from (..., 2) arrays of sum and area."""
    return divide(divide(inside[..., 0], inside[..., 1]), divide(rest[..., 0], rest[..., 1]))


def _smaller(mask: NDArray[np.bool_], side: int) -> NDArray[np.float32]:
    """Return the share of each cell that a mask covers, float32, (side, side)."""
    plane = mask.astype(np.float32)
    small = plane if mask.shape[0] == side else cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def enlarge(saliency: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return a map at the side of the photograph; between the middles of its cells it is bilinear."""
    if saliency.shape == (side, side):
        return saliency
    shrinks = saliency.shape[0] > side
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(saliency, (side, side), interpolation=method), np.float32)


def reference_maps(photograph: NDArray[np.uint8], inside: NDArray[np.bool_]) -> dict[str, NDArray[np.float32]]:
    """Return maps that know nothing of the network: what a region reaches by its place and its contrast alone.

    Args:
        photograph: Prepared, uint8 (S, S, 3).
        inside: Field of view, bool (S, S).

    Returns:
        `uniform`, whose ratio is 1 exactly; `centre`, a Gaussian about the middle of the view with half its radius;
        `edges`, the size of the gradient of the green channel.
    """
    rows, columns = np.nonzero(inside)
    height, width = inside.shape
    radius = max(np.sqrt(inside.sum() / np.pi), 1.0)
    y, x = np.mgrid[:height, :width]
    distance = (y - rows.mean()) ** 2 + (x - columns.mean()) ** 2 if len(rows) else np.zeros(inside.shape)
    green = cv2.GaussianBlur(photograph[:, :, 1].astype(np.float32), (0, 0), 1.0)
    core = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0  # the rim of the view is no structure
    slope = np.hypot(cv2.Sobel(green, cv2.CV_32F, 1, 0), cv2.Sobel(green, cv2.CV_32F, 0, 1))
    return {
        "uniform": np.ones(inside.shape, np.float32),
        "centre": np.exp(-distance / (2 * (radius / 2) ** 2)).astype(np.float32),
        "edges": (slope * core).astype(np.float32),
    }
