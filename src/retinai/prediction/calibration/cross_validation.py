"""Whether a temperature is worth having: its gain on photographs that it was not fitted on.

A temperature that is fitted and judged on the same few photographs always looks like a gain. So the validation
photographs are dealt into folds by patient, the temperature is fitted on all folds but one, and the negative
log-likelihood of the one with it is compared with that without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.prediction.calibration.temperature import fit_temperature, negative_log_likelihood
from retinai.prediction.predictions import Predictions

FOLDS = 5


def cross_validated_gain(predictions: Predictions, folds: int = FOLDS) -> dict[str, Any]:
    """Return by how much a temperature lowers the negative log-likelihood of photographs that it was not fitted on.

    Args:
        predictions: Of the validation split, as the network gives them, with targets.
        folds: Number of folds; fewer where there are fewer patients.

    Returns:
        Plain values: `folds`; `gain`, the mean over photographs of the loss without minus that with a temperature, in
        nats; `error`, the standard error of that mean over patients; `shown`, whether the gain is more than its
        standard error. Of a single patient nothing can be shown: `gain` and `error` are None.

    Source: the rule of one standard error is that of Breiman, Friedman, Olshen & Stone, "Classification and Regression
        Trees", 1984, section 3.4.3: of two models the simpler one, unless the other is better by more than that.
    """
    patients = np.unique(np.asarray(predictions.patients, dtype=object), return_inverse=True)[1]
    count = int(patients.max()) + 1
    folds = min(folds, count)
    if folds < 2:
        return {"folds": folds, "gain": None, "error": None, "shown": False}
    dealt = np.random.default_rng(0).permutation(count) % folds
    gains = _held_out_gains(predictions, dealt[patients])
    gain, error = float(gains.mean()), _standard_error(gains, patients, count)
    return {"folds": folds, "gain": gain, "error": error, "shown": gain > error}


def _held_out_gains(predictions: Predictions, fold_of: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the gain of each photograph by the temperature of the other folds, shape (N,)."""
    scaling = predictions.task.scalings[predictions.decision_rule]
    probabilities, targets = predictions.probabilities, predictions.labelled
    gains = np.zeros(len(targets))
    for fold in np.unique(fold_of):
        out = fold_of == fold
        temperature = fit_temperature(probabilities[~out], targets[~out], scaling)
        before = negative_log_likelihood(probabilities[out], targets[out], scaling)
        after = negative_log_likelihood(probabilities[out], targets[out], scaling, temperature)
        gains[out] = before - after
    return gains


def _standard_error(gains: NDArray[np.float64], patients: NDArray[np.int64], count: int) -> float:
    """Return the standard error of the mean gain; the photographs of a patient are one witness."""
    sums = np.bincount(patients, gains - gains.mean(), minlength=count)
    return float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(gains))
