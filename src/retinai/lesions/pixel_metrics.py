"""How far predicted masks are those that were drawn: by pixels and by regions, with intervals over photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from retinai.lesions.findings import LESION_NAMES, OPTIC_DISC
from retinai.metrics.bootstrap import bootstrap_weights, divide, interval

MASK_NAMES = (*LESION_NAMES, OPTIC_DISC)
# Probabilities are counted in steps of a thousandth, so that photographs of 12 million pixels need no sorting.
LEVELS = 1000
HALF = 0.5


@dataclass(frozen=True, eq=False)
class MaskCounts:
    """Pixels and regions of one photograph.

    Args:
        drawn: Pixels of each mask that were drawn, by the level of their predicted probability, int64, (L, LEVELS);
            level k holds probabilities from k / LEVELS on, the last one 1 too.
        others: The other pixels, the same shape.
        regions: Of each mask at its threshold, int64, (L, 3): connected regions that were drawn, those of them that
            a predicted pixel lies in, and predicted regions that hold no drawn pixel (8-connectivity).
    """

    drawn: NDArray[np.int64]
    others: NDArray[np.int64]
    regions: NDArray[np.int64]

    def __str__(self) -> str:
        """Return the average precision of each mask that the photograph has, such as `haemorrhages 0.61`."""
        areas = average_precision(self.drawn.astype(float), self.others.astype(float))
        told = zip(MASK_NAMES, areas.tolist(), strict=True)
        return ", ".join(f"{name.replace('_', ' ')} {area:.2f}" for name, area in told if not np.isnan(area))


def count_masks(
    probabilities: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray], thresholds: Mapping[str, float]
) -> MaskCounts:
    """Count the pixels and regions of one photograph.

    Args:
        probabilities: {name of MASK_NAMES: float in [0, 1], (H, W)}, every mask.
        masks: What was drawn, {name: bool (H, W)}; a mask that is not here is empty.
        thresholds: {name: from which probability on a pixel belongs to the mask}; 0.5 for those that are not here.
    """
    drawn, others, regions = [], [], []
    for name in MASK_NAMES:
        values = probabilities[name]
        mask = masks.get(name)
        mask = np.zeros(values.shape, bool) if mask is None else mask
        levels = np.minimum((values * LEVELS).astype(np.int64), LEVELS - 1)
        drawn.append(np.bincount(levels[mask], minlength=LEVELS))
        others.append(np.bincount(levels[~mask], minlength=LEVELS))
        regions.append(_regions(values >= thresholds.get(name, HALF), mask))
    return MaskCounts(np.stack(drawn), np.stack(others), np.array(regions, np.int64))


def average_precision(drawn: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under the precision-recall curve, as a step sum without interpolation.

    Args:
        drawn: Positive pixels by level of probability, (..., LEVELS).
        others: Negative pixels, the same shape.

    Returns:
        Shape (...); NaN where there is no positive pixel.

    Source: the sum of scikit-learn's `average_precision_score`, over levels.
    """
    found = np.cumsum(drawn[..., ::-1], axis=-1)
    called = found + np.cumsum(others[..., ::-1], axis=-1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return divide((precision * drawn[..., ::-1]).sum(axis=-1), drawn.sum(axis=-1))


def best_thresholds(counts: Sequence[MaskCounts]) -> dict[str, float]:
    """Return for each mask the threshold with the largest F1 of all pixels; masks that nobody drew are left out.

    Args:
        counts: Of the photographs on which thresholds are chosen.
    """
    chosen = {}
    for number, name in enumerate(MASK_NAMES):
        drawn = sum((one.drawn[number] for one in counts), np.zeros(LEVELS, np.int64))
        others = sum((one.others[number] for one in counts), np.zeros(LEVELS, np.int64))
        if not drawn.sum():
            continue
        found, wrong = np.cumsum(drawn[::-1])[::-1], np.cumsum(others[::-1])[::-1]
        f1 = 2 * found / (found + wrong + drawn.sum())
        # A threshold of 0 would draw everywhere, also outside of what the network saw.
        chosen[name] = float(max(int(np.argmax(f1)), 1) / LEVELS)
    return chosen


def mask_metrics(
    counts: Sequence[MaskCounts | None], thresholds: Mapping[str, float], resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Measure predicted masks against drawn ones.

    Args:
        counts: Of N photographs; None where nobody drew, which leaves a photograph out.
        thresholds: {mask: from which probability on a pixel belongs to it}, as the regions were counted with; 0.5
            for those that are not here.
        resamples: Bootstrap resamples; photographs are drawn.
        seed: Seed of the resamples.

    Returns:
        Plain values: `photographs` (drawn ones), and `masks`, for each mask `photographs` (that have it), `threshold`,
        and with a 95 % interval, None where undefined: `aupr`, the area under the precision-recall curve of all
        pixels of all photographs; `dice`, at the threshold, the mean over photographs that have it; `sensitivity`,
        the share of drawn regions that are found; `false_alarms`, predicted regions without a drawn pixel per
        photograph.

    Source: AUPR over all pixels is the metric of the segmentation challenge of Porwal et al., "IDRiD: Diabetic
        Retinopathy - Segmentation and Grading Challenge", Medical Image Analysis 59, 2020.
    """
    known = [one for one in counts if one is not None]
    if not known:
        return {"photographs": 0, "masks": {}}
    weights = bootstrap_weights([str(row) for row in range(len(known))], resamples, seed).astype(np.float64)
    masks = {}
    for number, name in enumerate(MASK_NAMES):
        threshold = float(thresholds.get(name, HALF))
        drawn = np.stack([one.drawn[number] for one in known]).astype(np.float64)
        others = np.stack([one.others[number] for one in known]).astype(np.float64)
        regions = np.stack([one.regions[number] for one in known]).astype(np.float64)
        there = drawn.sum(axis=1) > 0
        masks[name] = {
            "photographs": int(there.sum()),
            "threshold": threshold,
            "aupr": interval(average_precision(weights @ drawn, weights @ others)),
            "dice": interval(_mean_of_rows(_dice(drawn, others, threshold), weights)),
            "sensitivity": interval(divide(weights @ regions[:, 1], weights @ regions[:, 0])),
            "false_alarms": interval(divide(weights @ regions[:, 2], weights.sum(axis=1))),
        }
    return {"photographs": len(known), "masks": masks}


def _dice(drawn: NDArray[np.float64], others: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Return the Dice coefficient of each photograph, (N,); NaN where the mask is empty."""
    first = min(round(threshold * LEVELS), LEVELS)
    found, wrong, total = drawn[:, first:].sum(axis=1), others[:, first:].sum(axis=1), drawn.sum(axis=1)
    return np.where(total > 0, divide(2 * found, found + wrong + total), np.nan)


def _mean_of_rows(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of what is defined under each row of weights."""
    defined = ~np.isnan(values)
    return divide(weights @ np.where(defined, values, 0), weights @ defined.astype(np.float64))


def _regions(predicted: np.ndarray, mask: np.ndarray) -> tuple[int, int, int]:
    """Return how many regions were drawn, how many of them are found, and how many predicted ones are wrong."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    guessed, marks = cv2.connectedComponents(predicted.astype(np.uint8), connectivity=8)
    found = np.unique(labels[predicted & mask])
    right = np.unique(marks[predicted & mask])
    return count - 1, len(found), guessed - 1 - len(right)
