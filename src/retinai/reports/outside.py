"""What an evaluation tells of photographs that lie outside what the network saw."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import bootstrap_weights, interval
from retinai.metrics.ranking import ranking_areas
from retinai.prediction.outside import DISTANCE, OUTSIDE, KnownFeatures, Limit
from retinai.prediction.predictions import Predictions
from retinai.reports.parts import ReportPart
from retinai.reports.sections import ReportSection
from retinai.reports.wording import with_interval


def outside_part(predictions: Predictions, known: KnownFeatures | Limit, resamples: int = 1000) -> ReportPart:
    """Return how many photographs lie outside, and how well distance tells them from those of validation.

    Args:
        predictions: With the column `distance`.
        known: Of the checkpoint, or of several together.
        resamples: Bootstrap resamples of patients.
    """
    distances = np.asarray(predictions.columns[DISTANCE], dtype=np.float64)
    weights = bootstrap_weights(predictions.patients, resamples, 0)
    total = weights.sum(axis=1, dtype=np.float64)
    share = interval(weights @ (distances > 1).astype(np.float64) / total)
    apart = interval(_apart(distances, known, weights))
    metrics: dict[str, Any] = {
        "share": share, "promised": known.false_alarms, "median_distance": float(np.median(distances)),
        "auroc_from_validation": apart,
    }  # fmt: skip
    low = share["low"] if share["low"] is not None else share["value"]
    differs = low is not None and low > known.false_alarms
    said = (
        "These photographs differ from those of the training: more of them than by chance lie outside what the network "
        "saw, and its figures elsewhere promise nothing for them."
        if differs
        else "That is no more than chance allows: by this measure they are like the photographs of the training."
    )
    line = (
        f"{with_interval(share, 2)} of the photographs lie outside what the network saw, where "
        f"{known.false_alarms:.2f} of photographs like those of validation do. {said}"
    )
    how = (
        "The distance is that of Mahalanobis between the network's features of a photograph and those of its "
        f"{known.n} training photographs, in units of the limit. Distance tells these photographs from those of "
        f"validation with an AUROC of {with_interval(apart, 2)}; 0.5 means that it cannot."
    )
    section = ReportSection("Outside what the network saw", [line, how], [])
    return ReportPart(OUTSIDE, metrics, [section], [f"outside: {line}"])


def _apart(
    distances: NDArray[np.float64], known: KnownFeatures | Limit, weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the AUROC of distance for these photographs against those of validation, both resampled, shape (R,)."""
    others = bootstrap_weights([str(number) for number in range(len(known.validated))], len(weights) - 1, 1)
    positive = np.repeat([True, False], [len(distances), len(others[0])])
    return ranking_areas(np.concatenate([distances, known.validated]), positive, np.hstack([weights, others]))[0]
