"""What an evaluation tells of class shares that differ from those of the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retinai.errors import UserError
from retinai.metrics.bootstrap import bootstrap_weights, interval
from retinai.metrics.label_shift import corrected, estimate_shares
from retinai.prediction.metrics import measure
from retinai.prediction.predictions import Predictions
from retinai.reports.parts import ReportPart
from retinai.reports.sections import ReportSection, ReportTable
from retinai.reports.wording import with_interval
from retinai.tasks.task import Task

PART = "label_shift"
_HOW = (
    "Class shares are estimated from the probabilities alone, without looking at labels, and the probabilities are "
    "corrected for them (Saerens et al. 2002). That holds where classes are more or less frequent than in the training "
    "and each looks the same as there. What stays wrong after the correction is no matter of class shares."
)


def check_label_shift(task: Task, counts: Sequence[int]) -> None:
    """Refuse answers whose class shares say nothing.

    Raises:
        UserError: If the task has no classes of which one holds, or one of them was not in the training.
    """
    if task.distribution != "categorical":
        raise UserError(
            f"label_shift=true is for tasks of which one class holds, and this one gives {task.answer}; leave it out"
        )
    if min(counts) < 1:
        absent = task.classes[int(np.argmin(counts))]
        raise UserError(f"label_shift=true needs every class in the training, which had no {absent!r}; leave it out")


def label_shift_part(predictions: Predictions, counts: Sequence[int], resamples: int = 1000) -> ReportPart:
    """Return class shares, estimated and true, and the metrics before and after the correction.

    Args:
        predictions: Of labelled photographs, calibrated, of a task of which one class holds.
        counts: Training photographs per class, each at least 1.
        resamples: Bootstrap resamples of patients.
    """
    task, trained = predictions.task, np.asarray(counts, dtype=np.float64) / sum(counts)
    shares = estimate_shares(predictions.probabilities, trained)
    true = task.indicator(predictions.labelled).mean(axis=0)
    after = replace(
        predictions, probabilities=corrected(predictions.probabilities, trained, shares), decided=None, columns={}
    )
    weights = bootstrap_weights(predictions.patients, resamples, 0)
    names = [name for name in ("accuracy", task.main_metric, "auroc") if name in task.metric_labels]
    found = {
        when: {name: interval(values[name]) for name in dict.fromkeys(names)}
        for when, values in (("before", measure(predictions, weights)), ("after", measure(after, weights)))
    }
    rows = [[name, *(f"{one[i]:.3f}" for one in (trained, shares, true))] for i, name in enumerate(task.classes)]
    classes = ReportTable(("class", "share in training", "estimated here", "true here"), rows)
    metrics = ReportTable(
        ("metric", "as it is", "corrected"),
        [[task.metric_labels[n], *(with_interval(found[w][n]) for w in ("before", "after"))] for n in found["before"]],
    )
    content = {
        "trained": trained.tolist(), "estimated": shares.tolist(), "true": true.tolist(), **found,
    }  # fmt: skip
    section = ReportSection("Other class shares than in the training", [_HOW], [classes, metrics])
    tables = {"class shares": classes, "corrected for class shares": metrics}
    return ReportPart(PART, content, [section], tables=tables)
