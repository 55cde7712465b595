"""What an evaluation tells of the quality of its photographs (`retinai evaluate quality=true`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from retinai.prediction.metrics import compute_metrics
from retinai.prediction.predictions import Predictions
from retinai.quality import Quality
from retinai.reports.parts import ReportPart
from retinai.reports.sections import ReportSection, ReportTable
from retinai.reports.wording import with_interval

PART = "by_quality"
_VERDICTS = ("good", "usable", "reject")
_FIFTHS = ("best fifth", "second fifth", "third fifth", "fourth fifth", "worst fifth")
# Fewer photographs would put less than five into a fifth.
_LEAST = 25
_HOW = (
    "Photographs by the verdict on their quality, and in fifths of its score from the best to the worst. A group has a "
    "metric of its own with a 95 % interval; groups of few photographs, or of few grades, say little."
)


def with_quality_columns(predictions: Predictions, qualities: Sequence[Quality | None]) -> Predictions:
    """Return predictions with the columns `quality` and `quality_reason`, empty where nothing was judged."""
    columns = {
        "quality": [None if quality is None else quality.verdict for quality in qualities],
        "quality_reason": [None if quality is None else quality.reason for quality in qualities],
    }
    return replace(predictions, columns={**predictions.columns, **columns})


def quality_part(predictions: Predictions, qualities: Sequence[Quality | None], resamples: int = 1000) -> ReportPart:
    """Return the task's main metric and the accuracy of photographs of each quality.

    Args:
        predictions: Of labelled photographs, N.
        qualities: The verdict on each, None where it could not be judged.
        resamples: Bootstrap resamples.
    """
    task = predictions.task
    groups = {name: [i for i, q in enumerate(qualities) if q is not None and q.verdict == name] for name in _VERDICTS}
    groups |= _fifths(qualities)
    measured = {name: _measured(predictions.take(rows), resamples) for name, rows in groups.items()}
    header = ("photographs", "n", task.metric_labels[task.main_metric], "accuracy")
    rows = [
        (name, str(found["n"]), *(_shown(found, key) for key in (task.main_metric, "accuracy")))
        for name, found in measured.items()
    ]
    table = ReportTable(header, rows)
    metrics = {"groups": measured, "not_judged": sum(quality is None for quality in qualities)}
    return ReportPart(PART, metrics, [ReportSection("Quality", [_HOW], [table])], tables={"by quality": table})


def _fifths(qualities: Sequence[Quality | None]) -> dict[str, list[int]]:
    """Return the rows of each fifth of the score, from the best; none where there are too few photographs."""
    scores = {i: quality.score for i, quality in enumerate(qualities) if quality is not None}
    if len(scores) < _LEAST:
        return {}
    order = sorted(scores, key=lambda i: scores[i])
    return {name: sorted(part.tolist()) for name, part in zip(_FIFTHS, np.array_split(order, 5), strict=True)}


def _measured(predictions: Predictions, resamples: int) -> dict[str, Any]:
    if not len(predictions):
        return {"n": 0}
    metrics = compute_metrics(predictions, resamples=resamples)
    names = (predictions.task.main_metric, "accuracy")
    return {"n": len(predictions)} | {name: metrics[name] for name in names if name in metrics}


def _shown(found: Mapping[str, Any], name: str) -> str:
    return with_interval(found[name], 2) if name in found else "-"
