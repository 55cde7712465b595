"""From validation predictions to the calibration of a checkpoint, and what it does to other photographs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import bootstrap_weights, divide, interval
from retinai.prediction.calibration.cross_validation import cross_validated_gain
from retinai.prediction.calibration.label_thresholds import choose_label_thresholds
from retinai.prediction.calibration.operating_points import (
    choose_bounded_point,
    choose_operating_points,
    is_referable,
    referable_score,
)
from retinai.prediction.calibration.sets import fit_sets, prediction_sets, set_results
from retinai.prediction.calibration.temperature import BOUNDS, fit_temperature, negative_log_likelihood
from retinai.prediction.predictions import Predictions

NO_PROBABILITIES = (
    "no temperature, no operating points: grades that are read out of free text (grading=generate) are certain, and "
    "no temperature changes a 1 or a 0; grading=score gives probabilities"
)
# Fewer validation photographs would fit noise.
MINIMUM = 20


def fit_calibration(predictions: Predictions) -> tuple[dict[str, Any] | None, list[str]]:
    """Fit temperature and operating points on validation predictions.

    Args:
        predictions: Of the validation split, as the network gives them, with targets.

    Returns:
        What travels in the checkpoint, plain values: `temperature`, 1 where cross-validation does not show a gain;
        `cross_validation`, what that rests on (see `cross_validated_gain`) with the `fitted` temperature; `scaling`,
        what it was fitted for (see `prediction.calibration.temperature.scale`); `n` photographs; `nll` and
        `calibration_error` `before` and `after`, on these photographs; `operating_points` (empty for tasks without
        referral); of several labels also `thresholds` by label; for ordered grades `sets` (see
        `prediction.calibration.sets`). None where there is too little to fit on. And a sentence for everything that
        could not be fitted.
    """
    task, targets = predictions.task, predictions.labelled
    reason = _too_few(predictions)
    if reason is not None:
        return None, [f"no temperature, no operating points: the validation split has only {reason}"]
    scaling = task.scalings[predictions.decision_rule]
    fitted = fit_temperature(predictions.probabilities, targets, scaling)
    checked = cross_validated_gain(predictions)
    temperature, notes = _decide(fitted, checked, len(predictions))
    calibration: dict[str, Any] = {"temperature": temperature, "scaling": scaling, "n": len(predictions)}
    calibration["cross_validation"] = {"fitted": fitted, **checked}
    return calibration | _choices(predictions, calibration, notes), notes


def fit_points(predictions: Predictions, about: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """Fit operating points, thresholds and sets as `fit_calibration` does, but no temperature: it is 1.

    Args:
        predictions: With targets, as they are shown to people.
        about: What the photographs are, kept under `pooled`: plain values.

    Returns:
        As `fit_calibration`, with `pooled` and without `cross_validation`.
    """
    reason = _too_few(predictions)
    if reason is not None:
        return None, [f"no operating points and no sets: of the photographs to choose them on there are only {reason}"]
    scaling = predictions.task.scalings[predictions.decision_rule]
    calibration = {"temperature": 1.0, "scaling": scaling, "n": len(predictions), "pooled": dict(about)}
    notes: list[str] = []
    return calibration | _choices(predictions, calibration, notes), notes


def _too_few(predictions: Predictions) -> str | None:
    """Return how many photographs there are where that is too few to fit on."""
    if len(predictions) < MINIMUM:
        return f"{len(predictions)} photographs (fewer than {MINIMUM})"
    return None if len(np.unique(predictions.labelled)) > 1 else f"{len(predictions)} photographs of one class"


def _choices(predictions: Predictions, calibration: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return what a calibration holds beside its temperature; what could not be chosen goes to the notes."""
    task, targets = predictions.task, predictions.labelled
    after = predictions.calibrated(calibration)
    ones = np.ones((1, len(predictions)), dtype=np.float32)
    pairs = (("before", predictions), ("after", after))
    chosen: dict[str, Any] = {
        "nll": {when: float(_losses(p).mean()) for when, p in pairs},
        "calibration_error": {when: float(_error(p, ones)[0]) for when, p in pairs},
        "operating_points": {},
    }
    if predictions.decision_rule == "threshold":
        chosen["thresholds"], more = choose_label_thresholds(predictions.probabilities, targets, task.classes)
        notes += more
    if task.referable_from is not None:
        score = referable_score(after.probabilities, task)
        points, more = choose_operating_points(score, is_referable(targets, task))
        bounded, few = choose_bounded_point(score, is_referable(targets, task))
        chosen["operating_points"] = points | bounded
        notes += more + few
    if "ordered" in task.target_types:
        chosen["sets"] = fit_sets(predictions.probabilities, targets, predictions.decision_rule)
    return chosen


def _decide(fitted: float, checked: Mapping[str, Any], count: int) -> tuple[float, list[str]]:
    """Return the temperature that is used, and sentences: 1 where cross-validation does not show a gain."""
    if checked["shown"]:
        if BOUNDS[0] * 1.1 < fitted < BOUNDS[1] / 1.1:
            return fitted, []
        return fitted, [f"the temperature {fitted:.2f} lies at the end of its range, so it says little"]
    if checked["gain"] is None:
        return 1.0, ["the temperature stays at 1: all validation photographs are of one patient, so no gain can show"]
    return 1.0, [
        f"the temperature stays at 1: cross-validated on {count} validation photographs, {fitted:.2f} lowers the "
        f"negative log-likelihood by {checked['gain']:.4f} (standard error {checked['error']:.4f}), which shows no gain"
    ]


def calibration_results(
    before: Predictions, calibration: Mapping[str, Any], resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Measure what a calibration does to labelled photographs, with 95 % intervals.

    Args:
        before: Predictions as the network gives them, with targets.
        calibration: Of `fit_calibration`.
        resamples: Bootstrap resamples of patients.
        seed: Seed of the bootstrap.

    Returns:
        `temperature`; `nll` and `calibration_error`, each `before` and `after`; `operating_points`:
        name -> `threshold`, `validation` (sensitivity, specificity, n) and `sensitivity` and `specificity` on these
        photographs; `pooled`, where several networks were fitted together; `sets`, where they were fitted: `level`, the
        promise, and `coverage` and `mean_size` on these photographs. A metric is `{"value", "low", "high"}`.
    """
    weights = bootstrap_weights(before.patients, resamples, seed)
    after = before.calibrated(calibration)
    total = weights.sum(axis=1, dtype=np.float64)
    pairs = (("before", before), ("after", after))
    results = {
        "temperature": calibration["temperature"],
        **({"pooled": calibration["pooled"]} if "pooled" in calibration else {}),
        "nll": {when: interval(divide(weights @ _losses(p), total)) for when, p in pairs},
        "calibration_error": {when: interval(_error(p, weights)) for when, p in pairs},
        "operating_points": {
            name: _at_point(after, point, weights) for name, point in calibration["operating_points"].items()
        },
    }
    if calibration.get("sets"):
        members = prediction_sets(before.probabilities, before.decision_rule, calibration["sets"])
        measured = set_results(members, before.labelled, weights)
        results["sets"] = {"level": calibration["sets"]["level"]} | {k: interval(v) for k, v in measured.items()}
    return results


def _at_point(after: Predictions, point: Mapping[str, Any], weights: NDArray[np.float32]) -> dict[str, Any]:
    ill = is_referable(after.labelled, after.task)
    referred = referable_score(after.probabilities, after.task) >= point["threshold"]
    counts = weights.astype(np.float64)
    return {
        "threshold": point["threshold"],
        "validation": {key: point[key] for key in ("sensitivity", "specificity", "n")},
        "sensitivity": interval(divide(counts @ (ill & referred), counts @ ill)),
        "specificity": interval(divide(counts @ (~ill & ~referred), counts @ ~ill)),
    }


def _losses(predictions: Predictions) -> NDArray[np.float64]:
    scaling = predictions.task.scalings[predictions.decision_rule]
    return negative_log_likelihood(predictions.probabilities, predictions.labelled, scaling)


def _error(predictions: Predictions, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    return predictions.task.calibration_error(predictions.probabilities, predictions.labelled, weights)
