"""Temperature scaling: one number, fitted on validation, that makes stated probabilities come true more often.

Decisions are made before the scaling, so a temperature changes what is stated and never what is decided.
The most probable grade and a label above one half stay what they are under any temperature; the median of
a distribution would move, and with it the rank rule that an ordinal loss was trained for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Smaller probabilities count as this: a logarithm needs something, and float32 has no finer ones near 1.
SMALLEST_GRADE = 1e-12
SMALLEST_LABEL = 2.0**-24
BOUNDS = (0.1, 10.0)


def scale(probabilities: NDArray[Any], temperature: float, kind: str) -> NDArray[np.float64]:
    """Soften (T > 1) or sharpen (T < 1) probabilities.

    Grades: p^(1/T), each row divided by its sum, which equals softmax(logits / T). Labels:
    sigmoid(logit(p) / T), each by itself. Probabilities below 1e-12 (grades) or 2^-24 (labels, at
    both ends) are raised to that first; at T = 1 nothing is touched at all.

    Args:
        probabilities: Shape (N, C), in [0, 1]; rows with NaN stay NaN.
        temperature: T, positive.
        kind: Kind of task, `grade` or `multilabel`.

    Returns:
        Shape (N, C), float64.

    Raises:
        ValueError: If the temperature is not positive or the kind is unknown.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is positive, not {temperature}")
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if temperature == 1.0:
        return probabilities
    logits = _logits(probabilities, kind) / temperature
    return np.exp(_log_probabilities(logits, kind))


def stated(probabilities: NDArray[Any], calibration: Mapping[str, Any] | None, kind: str) -> NDArray[np.float64]:
    """Return the probabilities that are shown to people: scaled where a calibration is at hand.

    Args:
        probabilities: What the network gives, shape (N, C). Decide on these, not on what is returned.
        calibration: `calibration` of a checkpoint or an exported folder; None leaves all as it is.
        kind: Kind of task, `grade` or `multilabel`.

    Returns:
        Shape (N, C), float64.
    """
    temperature = 1.0 if calibration is None else float(calibration["temperature"])
    return scale(probabilities, temperature, kind)


def negative_log_likelihood(
    probabilities: NDArray[Any], targets: NDArray[np.int64], kind: str, temperature: float = 1.0
) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each photograph; for labels the mean over the labels.

    Args:
        probabilities: Shape (N, C); tiny ones are raised as in `scale`.
        targets: Grades, shape (N,), or labels, shape (N, C), 0 or 1.
        kind: Kind of task, `grade` or `multilabel`.
        temperature: Scaling before the logarithm.

    Returns:
        Shape (N,), 0 or more.
    """
    logits = _logits(np.asarray(probabilities, dtype=np.float64), kind) / temperature
    logs = _log_probabilities(logits, kind)
    if kind == "grade":
        return -logs[np.arange(len(logs)), targets]
    absent = _log_probabilities(-logits, kind)
    return -np.where(targets == 1, logs, absent).mean(axis=1)


def fit_temperature(probabilities: NDArray[Any], targets: NDArray[np.int64], kind: str) -> float:
    """Return the temperature with the lowest negative log-likelihood, between 0.1 and 10.

    Args:
        probabilities: Of validation photographs, as the network gives them, shape (N, C).
        targets: Grades, shape (N,), or labels, shape (N, C), 0 or 1.
        kind: Kind of task, `grade` or `multilabel`.

    Raises:
        ValueError: If there is nothing to fit on.
    """
    from scipy.optimize import minimize_scalar

    if len(targets) == 0:
        raise ValueError("a temperature needs photographs to be fitted on")

    def loss(log_temperature: float) -> float:
        return float(negative_log_likelihood(probabilities, targets, kind, np.exp(log_temperature)).mean())

    # The loss is convex in 1/T, so it has one valley in log T as well.
    found = minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def _logits(probabilities: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return logits that give these probabilities; those of grades are fixed up to a constant per row."""
    if kind == "grade":
        return np.log(np.maximum(probabilities, SMALLEST_GRADE))
    if kind == "multilabel":
        inside = np.clip(probabilities, SMALLEST_LABEL, 1 - SMALLEST_LABEL)
        return np.log(inside) - np.log1p(-inside)
    raise ValueError(f"task kind {kind!r} has no temperature")


def _log_probabilities(logits: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    if kind == "multilabel":
        return -np.logaddexp(0, -logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
