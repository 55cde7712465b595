"""Thresholds per label: from which probability on a label is given, chosen on validation photographs.

They are those of the network's own probabilities, before a temperature scales them, as one half is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.errors import UserError
from retinai.metrics.decisions import THRESHOLD

# With fewer photographs that have the label, or lack it, a threshold would follow single ones.
MINIMUM = 5


def choose_label_thresholds(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64], labels: Sequence[str]
) -> tuple[dict[str, float], list[str]]:
    """Choose for each label the threshold with the highest F1; of equal ones the one nearest to one half.

    A threshold lies midway between two neighbouring probabilities, so that rounding moves no photograph across it.

    Args:
        probabilities: As the network gives them, shape (N, C).
        targets: Shape (N, C), 0 or 1.
        labels: Names of the C labels.

    Returns:
        Label -> threshold; and a sentence about labels that are too rare, or too common, and keep one half.
    """
    thresholds, kept = {}, []
    for number, label in enumerate(labels):
        has = targets[:, number] == 1
        if min(has.sum(), (~has).sum()) < MINIMUM:
            thresholds[label] = THRESHOLD
            kept.append(label)
        else:
            thresholds[label] = _best(probabilities[:, number], has)
    told = f"{', '.join(kept)}: the threshold stays at {THRESHOLD}, since fewer than {MINIMUM} validation photographs"
    return thresholds, [f"{told} have the label, or lack it"] if kept else []


def _best(scores: NDArray[np.float64], has: NDArray[np.bool_]) -> float:
    values, group = np.unique(scores, return_inverse=True)
    # Photographs at or above each value, and those of them that have the label.
    found = np.bincount(group, has, minlength=len(values))[::-1].cumsum()[::-1]
    given = np.bincount(group, minlength=len(values))[::-1].cumsum()[::-1]
    f1 = 2 * found / (given + has.sum())
    thresholds = (np.concatenate([[0.0], values[:-1]]) + values) / 2
    best = np.flatnonzero(np.isclose(f1, f1.max(), rtol=0, atol=1e-12))
    low = np.where(best > 0, values[best - 1], 0.0)
    if ((low < THRESHOLD) & (values[best] >= THRESHOLD)).any():
        return THRESHOLD  # it decides the same as the best one, so nothing is gained by another number
    return float(thresholds[best[np.argmin(np.abs(thresholds[best] - THRESHOLD))]])


def stored_thresholds(calibration: Mapping[str, Any] | None, labels: Sequence[str], rule: str) -> NDArray[np.float64]:
    """Return the thresholds that a checkpoint or an exported folder keeps, shape (C,).

    Args:
        calibration: Of the checkpoint or the folder.
        labels: Of its task.
        rule: Its decision rule.

    Raises:
        UserError: If its task has no labels, or it keeps no thresholds, or those of other labels.
    """
    if rule != "threshold":
        raise UserError("thresholds=validation is for models that find several labels at once; leave it out")
    kept = (calibration or {}).get("thresholds")
    if not kept:
        raise UserError(
            "thresholds=validation needs thresholds per label, which the model does not keep: they are fitted after a "
            "training with calibrate=true whose validation part has 20 photographs or more"
        )
    if set(kept) != set(labels):
        raise UserError(
            f"the model keeps thresholds of the labels {', '.join(kept)}, but its task has {', '.join(labels)}"
        )
    return np.array([float(kept[label]) for label in labels])


def labels_from(probabilities: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the labels that reach their thresholds, shape (N, C), 0 or 1.

    Args:
        probabilities: As the network gives them, shape (N, C).
        thresholds: Shape (C,).
    """
    return (probabilities >= thresholds).astype(np.int64)
