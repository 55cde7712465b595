"""The table of predictions, the same from a checkpoint and from an exported folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retinai.metrics.decisions import decide
from retinai.prediction.calibration.label_thresholds import labels_from
from retinai.prediction.calibration.sets import prediction_sets
from retinai.prediction.calibration.temperature import calibrated_probabilities
from retinai.prediction.outside import DISTANCE, OUTSIDE
from retinai.prediction.photographs import Photographs
from retinai.tasks.task import Task

_FAR = "outside what the network saw in its training"
_NO_NUMBERS = "the network gave probabilities that are no finite numbers"


def prediction_table(
    task: Task,
    decision_rule: str,
    photographs: Photographs,
    probabilities: np.ndarray,
    reasons: Sequence[str],
    calibration: Mapping[str, Any] | None = None,
    thresholds: NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """Return one row per photograph.

    Args:
        task: Of the model.
        decision_rule: How probabilities become decisions, see `retinai.metrics.decisions.decide`.
        photographs: What was predicted, N.
        probabilities: As the network gives them, shape (N, C); the rows of files that could not be read are
            not looked at.
        reasons: Why a file could not be read, N; empty where it could.
        calibration: Of the checkpoint or the folder; `p_<class>` is scaled by it, which
            changes no decision.
        thresholds: Of several labels, shape (C,): from which probability on each is given; None: by the rule.

    Returns:
        Columns `id`, `path`, `prediction` (a grade, label names joined by `|`, or a number), `p_<class>` per class,
        `set_90` where the calibration has sets of that level (names of the grades that cannot be ruled out, joined by
        `|`), `error` (the reason; then prediction and probabilities are missing). A photograph whose probabilities are
        no finite numbers has no prediction either.
    """
    finite = np.isfinite(probabilities).all(axis=1)
    reasons = [
        reason or ("" if number else _NO_NUMBERS) for reason, number in zip(reasons, finite.tolist(), strict=True)
    ]
    good = np.array([reason == "" for reason in reasons], dtype=bool)
    probabilities = np.where(good[:, None], probabilities, np.nan)
    if thresholds is None:
        decisions = decide(probabilities[good], decision_rule)
    else:
        decisions = labels_from(probabilities[good], thresholds)
    sets = _sets(task, probabilities, decision_rule, calibration)
    probabilities = calibrated_probabilities(probabilities, calibration)
    predicted = np.full(len(reasons), None, dtype=object)
    predicted[good] = task.csv_labels(decisions)
    columns = {name: probabilities[:, i] for i, name in enumerate(task.probability_columns)}
    # Names as objects: Arrow, in which pandas keeps texts, holds none that are not UTF-8.
    ids, paths = (pd.Series(texts, dtype=object) for texts in (photographs.ids, photographs.paths))
    return pd.DataFrame({"id": ids, "path": paths, "prediction": predicted, **columns, **sets, "error": list(reasons)})


def add_distance(table: pd.DataFrame, distances: NDArray[np.float64]) -> None:
    """Add `distance` and `outside` before `error`.

    Args:
        table: Of `prediction_table`, N rows.
        distances: From the training photographs in units of the limit, shape (N,); NaN where there is none. Where it
            is above 1, `outside` says so; elsewhere it is missing.
    """
    place = list(table.columns).index("error")
    table.insert(place, DISTANCE, distances)
    table.insert(place + 1, OUTSIDE, pd.Series([_FAR if one > 1 else None for one in distances], dtype=object))


def set_column(fitted: Mapping[str, Any]) -> str:
    """Return the name of the column of sets, such as `set_90`."""
    return f"set_{round(100 * fitted['level'])}"


def _sets(
    task: Task, probabilities: np.ndarray, rule: str, calibration: Mapping[str, Any] | None
) -> dict[str, list[str | None]]:
    """Return the column of sets; none where the calibration has none."""
    fitted = (calibration or {}).get("sets")
    if not fitted:
        return {}
    members = prediction_sets(probabilities, rule, fitted)
    return {set_column(fitted): ["|".join(np.array(task.classes)[row]) if row.any() else None for row in members]}
