"""Temperature scaling: one number, fitted on validation, that makes probabilities come true as often as they say.

How it scales follows from how the probabilities become a decision (`Task.scalings`), so that it changes
probabilities and never decisions: the rule gives the same decision before the scaling and after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.decisions import THRESHOLD, lies_above

SCALINGS = ("softmax", "cumulative", "sigmoid")
# Smaller probabilities count as this: a logarithm needs something, and float32 has no finer ones near 1.
SMALLEST_GRADE = 1e-12
SMALLEST_LABEL = 2.0**-24
BOUNDS = (0.1, 10.0)
# A scaled cumulative logit above 0 keeps this much, so that rounding cannot bring it to the other side.
_LEAST_LOGIT = 1e-6
# A scaled label's logit below 0 keeps this much, so that the probability stays below one half.
_LEAST_LABEL_LOGIT = 1e-15


def scale(probabilities: NDArray[Any], temperature: float, scaling: str) -> NDArray[np.float64]:
    """Soften (T > 1) or sharpen (T < 1) probabilities; at T = 1 nothing is touched at all.

    `softmax`: p^(1/T), each row divided by its sum, which equals softmax(logits / T); probabilities below 1e-12 are
    raised to that first. `sigmoid`: sigmoid(logit(p) / T), each label by itself; p is kept 2^-24 away from 0 and 1.
    `cumulative`, for ordered grades: sigmoid(logit(P(grade > k)) / T) for every k, and the differences of
    neighbours; each side of a k keeps 1e-12 per grade. The median stays where it is.

    Args:
        probabilities: Shape (N, C), in [0, 1]; rows with NaN stay NaN.
        temperature: T, positive and finite.
        scaling: `softmax`, `cumulative` or `sigmoid`.

    Returns:
        Shape (N, C), float64.

    Raises:
        ValueError: If the temperature is not positive and finite, or the scaling is unknown.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2. The cumulative form is
        that of the proportional odds model, McCullagh, "Regression Models for Ordinal Data", 1980, whose
        log-likelihood is concave in 1 / T (Pratt, "Concavity of the Log Likelihood", 1981).
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"a temperature is positive and finite, not {temperature}")
    if scaling not in SCALINGS:
        raise ValueError(f"the scaling {scaling!r} is unknown; valid: {', '.join(SCALINGS)}")
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if temperature == 1.0:
        return probabilities
    if scaling == "cumulative":
        logits, above = _cumulative_logits(probabilities) / temperature, lies_above(probabilities)
        logits = np.where(above, np.maximum(logits, _LEAST_LOGIT), np.minimum(logits, 0.0))
        return _grades_from_exceedance(logits)
    logits = _logits(probabilities, scaling) / temperature
    if scaling == "sigmoid":
        logits = np.where(probabilities < THRESHOLD, np.minimum(logits, -_LEAST_LABEL_LOGIT), logits)
    return np.exp(_log_probabilities(logits, scaling))


def calibrated_probabilities(probabilities: NDArray[Any], calibration: Mapping[str, Any] | None) -> NDArray[np.float64]:
    """Return the probabilities that are shown to people: scaled where a calibration is at hand.

    Args:
        probabilities: What the network gives, shape (N, C).
        calibration: `calibration` of a checkpoint or an exported folder; None leaves all as it is.

    Returns:
        Shape (N, C), float64.
    """
    if calibration is None:
        return np.asarray(probabilities, dtype=np.float64)
    return scale(probabilities, float(calibration["temperature"]), str(calibration["scaling"]))


def negative_log_likelihood(
    probabilities: NDArray[Any], targets: NDArray[np.int64], scaling: str, temperature: float = 1.0
) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each photograph; for labels the mean over the labels.

    Args:
        probabilities: Shape (N, C); tiny ones are raised as in `scale`.
        targets: Grades, shape (N,), or labels, shape (N, C), 0 or 1.
        scaling: `softmax`, `cumulative` or `sigmoid`.
        temperature: Scaling before the logarithm.

    Returns:
        Shape (N,), 0 or more.
    """
    if scaling == "cumulative":
        own = scale(probabilities, temperature, scaling)[np.arange(len(targets)), targets]
        return -np.log(np.clip(own, SMALLEST_GRADE, 1.0))
    logits = _logits(np.asarray(probabilities, dtype=np.float64), scaling) / temperature
    logs = _log_probabilities(logits, scaling)
    if scaling == "softmax":
        return -logs[np.arange(len(logs)), targets]
    absent = _log_probabilities(-logits, scaling)
    return -np.where(targets == 1, logs, absent).mean(axis=1)


def fit_temperature(probabilities: NDArray[Any], targets: NDArray[np.int64], scaling: str) -> float:
    """Return the temperature with the lowest negative log-likelihood, between 0.1 and 10.

    Args:
        probabilities: Of validation photographs, as the network gives them, shape (N, C).
        targets: Grades, shape (N,), or labels, shape (N, C), 0 or 1.
        scaling: `softmax`, `cumulative` or `sigmoid`.

    Raises:
        ValueError: If there is nothing to fit on.
    """
    from scipy.optimize import minimize_scalar

    if len(targets) == 0:
        raise ValueError("a temperature needs photographs to be fitted on")

    def loss(log_temperature: float) -> float:
        return float(negative_log_likelihood(probabilities, targets, scaling, np.exp(log_temperature)).mean())

    # The loss is convex in 1/T, so it has one valley in log T as well.
    found = minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def _logits(probabilities: NDArray[np.float64], scaling: str) -> NDArray[np.float64]:
    """Return logits that give these probabilities; those of grades are fixed up to a constant per row."""
    if scaling == "softmax":
        return np.log(np.maximum(probabilities, SMALLEST_GRADE))
    inside = np.clip(probabilities, SMALLEST_LABEL, 1 - SMALLEST_LABEL)
    return np.log(inside) - np.log1p(-inside)


def _cumulative_logits(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logit(P(grade > k)) for k = 0..C-2, falling along each row, shape (N, C - 1)."""
    # Each side is summed by itself: one minus the other would lose what is small.
    up_to = np.cumsum(probabilities, axis=1)[:, :-1]
    above = np.cumsum(probabilities[:, ::-1], axis=1)[:, -2::-1]
    # A floor that grows with the number of grades: no two of these logits become equal, so that a row which is
    # certain of one grade is softened towards all the others and not towards the far end alone.
    floor = SMALLEST_GRADE * np.arange(1, probabilities.shape[1])
    return np.log(np.maximum(above, floor[::-1])) - np.log(np.maximum(up_to, floor))


def _grades_from_exceedance(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return P(grade = k), shape (N, C), from logit(P(grade > k)), falling along each row, shape (N, C - 1)."""
    exceedance = np.exp(_log_probabilities(logits, "sigmoid"))
    ends = np.ones((len(logits), 1))
    return np.maximum(-np.diff(exceedance, axis=1, prepend=ends, append=0 * ends), 0.0)


def _log_probabilities(logits: NDArray[np.float64], scaling: str) -> NDArray[np.float64]:
    if scaling == "sigmoid":
        with np.errstate(invalid="ignore"):  # the rows of photographs without probabilities stay NaN
            return -np.logaddexp(0, -logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
