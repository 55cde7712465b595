"""What an evaluation tells of the certainty of several checkpoints that answer as one."""

from __future__ import annotations

from typing import Any

import numpy as np

from retinai.metrics.bootstrap import bootstrap_weights, interval
from retinai.metrics.risk_coverage import accuracy_at, area_under_risk
from retinai.prediction.predictions import Predictions
from retinai.prediction.uncertainty import COLUMNS
from retinai.reports.parts import ReportPart
from retinai.reports.sections import ReportSection, ReportTable
from retinai.reports.wording import with_interval

PART = "uncertainty"
_COVERED = 0.8
_HOW = (
    "Photographs are ordered by how unsure the networks are together. AURC is the mean share of wrong decisions over "
    "all shares of photographs that are decided, the most certain first: an order that says nothing gives the error "
    "rate. Intervals are 95 %, over patients."
)


def uncertainty_part(predictions: Predictions, resamples: int = 1000) -> ReportPart:
    """Return how well entropy and mutual information tell right decisions from wrong ones.

    Args:
        predictions: Of labelled photographs, with the columns of `MeanOfMembers`.
        resamples: Bootstrap resamples of patients.
    """
    weights = bootstrap_weights(predictions.patients, resamples, 0)
    wrong = (predictions.decisions != predictions.labelled).reshape(len(predictions), -1).any(axis=1)
    total = weights.sum(axis=1, dtype=np.float64)
    rates = weights @ wrong.astype(np.float64) / total
    metrics: dict[str, Any] = {"error_rate": interval(rates)}
    rows = [("nothing: all are decided", with_interval(interval(rates)), with_interval(interval(1 - rates)))]
    for name in COLUMNS:
        unsure = np.asarray(predictions.columns[name], dtype=np.float64)
        area = interval(area_under_risk(wrong, unsure, weights))
        kept = interval(accuracy_at(wrong, unsure, weights, _COVERED))
        metrics[name] = {"aurc": area, "accuracy_of_80_percent": kept}
        rows.append((name.replace("_", " "), with_interval(area), with_interval(kept)))
    header = ("ordered by", "AURC", "accuracy of the 80 % most certain")
    table = ReportTable(header, rows)
    return ReportPart(PART, metrics, [ReportSection("Certainty", [_HOW], [table])], tables={"certainty": table})
