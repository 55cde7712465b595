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
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import bootstrap_weights, divide, interval, mean_defined

# Sums are linear, so masks are made smaller with fractions of pixels; more than this costs time and changes nothing.
LARGEST_SIDE = 224
TURNS = 200


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
        turned_hit: The share of the turned regions in which it lies.
    """

    patients: list[str] = field(default_factory=list)
    inside: list[tuple[float, float]] = field(default_factory=list)
    rest: list[tuple[float, float]] = field(default_factory=list)
    turned: list[NDArray[np.float64]] = field(default_factory=list)
    turned_rest: list[NDArray[np.float64]] = field(default_factory=list)
    hit: list[bool] = field(default_factory=list)
    turned_hit: list[float] = field(default_factory=list)


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
        self.photographs += 1
        side = min(inside.shape[0], LARGEST_SIDE)
        view = _smaller(inside, side)
        heat = enlarge(np.maximum(np.asarray(saliency, np.float32), 0), side) * view
        if not heat.sum() > 0:
            self.zero += 1
            return
        small = {region: _smaller(mask & inside, side) for region, mask in masks.items()}
        for regions in self.families.values():
            present = {region: small[region] for region in regions if region in small}
            if not present:
                continue
            family = np.asarray(np.clip(np.sum(list(present.values()), axis=0), 0, view), np.float32)
            moves = self._moves(name, view, family, heat)
            for region, mask in present.items():
                if mask.sum() > 0:
                    self._measure(self.sums.setdefault(region, RegionSums()), patient, heat, mask, view - family, moves)

    def _measure(
        self,
        sums: RegionSums,
        patient: str,
        heat: NDArray[np.float32],
        mask: NDArray[np.float32],
        rest: NDArray[np.float32],
        moves: _Moves,
    ) -> None:
        sums.patients.append(patient)
        sums.inside.append((float((heat * mask).sum()), float(mask.sum())))
        sums.rest.append((float((heat * rest).sum()), float(rest.sum())))
        peak = np.unravel_index(int(heat.argmax()), heat.shape)
        sums.hit.append(bool(mask[peak] > 0.5))
        turned = [moves.turn(mask, matrix) for matrix in moves.matrices]
        sums.turned.append(np.array([[(heat * t).sum(), t.sum()] for t in turned]).reshape(-1, 2))
        sums.turned_rest.append(moves.rest)
        sums.turned_hit.append(float(np.mean([t[peak] > 0.5 for t in turned])) if turned else 0.0)

    def _moves(
        self, name: str, view: NDArray[np.float32], family: NDArray[np.float32], heat: NDArray[np.float32]
    ) -> _Moves:
        """Return the turns of one photograph, the same for all regions of a family so that they stay side by side."""
        draw = np.random.default_rng([self.seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
        rows, columns = np.nonzero(view)
        centre = (float(columns.mean()), float(rows.mean()))
        matrices: list[NDArray[np.float64]] = []
        for _ in range(self.turns):
            matrix = cv2.getRotationMatrix2D(centre, float(draw.uniform(0, 360)), 1.0)
            if draw.random() < 0.5:
                matrix = np.asarray(matrix, np.float64) @ np.array([[-1, 0, 2 * centre[0]], [0, 1, 0], [0, 0, 1.0]])
            matrices.append(np.asarray(matrix, np.float64))
        moves = _Moves(matrices, view, np.empty((0, 2)))
        around = [view - moves.turn(family, matrix) for matrix in matrices]
        moves.rest = np.array([[(heat * rest).sum(), rest.sum()] for rest in around]).reshape(-1, 2)
        return moves

    def results(self, resamples: int = 1000) -> dict[str, dict[str, Any]]:
        """Return the figures of each region that any photograph has.

        Args:
            resamples: Bootstrap resamples, whole patients at a time.

        Returns:
            Region -> `pooled` (ratio of the pooled intensities) and `mean` (mean of the photographs' ratios), each
            `{"value", "low", "high"}`; `excess`: the pooled ratio over the median of that of the turned regions; `p`:
            the share of turned regions that reach it, one-sided; `energy`: share of the map's sum in the region;
            `pointing`: share of photographs whose maximum lies in it, and `pointing_turned` for the turned ones;
            `photographs` that have the region.
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
                found["p"] = float((1 + (null >= pooled[0]).sum()) / (1 + len(null)))
        total = inside[:, 0].sum() + rest[:, 0].sum()
        found["energy"] = float(inside[:, 0].sum() / total) if total > 0 else None
        found["pointing"] = float(np.mean(sums.hit))
        found["pointing_turned"] = float(mean_defined(np.array(sums.turned_hit)))
        found["photographs"] = len(sums.patients)
        return found


@dataclass(eq=False)
class _Moves:
    matrices: list[NDArray[np.float64]]
    view: NDArray[np.float32]
    rest: NDArray[np.float64]

    def turn(self, mask: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return a mask moved, and cut at the field of view."""
        side = mask.shape[0]
        moved = cv2.warpAffine(mask, matrix, (side, side), flags=cv2.INTER_LINEAR)
        return np.asarray(moved * self.view, np.float32)


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
