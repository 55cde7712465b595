"""Operating points: from which score on an eye is referred, chosen on validation photographs.

The score of a photograph is the scaled probability of all referable grades together,
P(grade >= task.referable_from), and it is referred when the score is at or above the threshold. A
threshold lies midway between two neighbouring scores, so that rounding in another runtime moves nobody
across it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from retinai.tasks.task import Task


SENSITIVITY = SPECIFICITY = 0.9
CONFIDENCE = 0.95


def referable_score(probabilities: NDArray[Any], task: Task) -> NDArray[np.float64]:
    """Return P(grade >= task.referable_from), shape (N,).

    Args:
        probabilities: Scaled by the calibration, shape (N, C).
        task: A task with a border of referral.

    Raises:
        ValueError: If the task has none.
    """
    return np.asarray(probabilities, dtype=np.float64)[:, _border(task) :].sum(axis=1)


def is_referable(grades: NDArray[np.int64], task: Task) -> NDArray[np.bool_]:
    """Return whether each grade is referred, shape (N,).

    Args:
        grades: Shape (N,).
        task: A task with a border of referral.

    Raises:
        ValueError: If the task has none.
    """
    return grades >= _border(task)


def _border(task: Task) -> int:
    if task.referable_from is None:
        raise ValueError(f"task {task.name!r} does not say from which grade an eye is referred")
    return task.referable_from


def choose_operating_points(
    scores: NDArray[np.float64],
    referable: NDArray[np.bool_],
    sensitivity: float = SENSITIVITY,
    specificity: float = SPECIFICITY,
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Choose thresholds on validation photographs.

    `sensitivity_90`: the most specific threshold that finds at least 90 % of the referable ones.
    `specificity_90`: the most sensitive threshold that leaves at least 90 % of the others unreferred. `youden`:
    the highest sensitivity + specificity - 1; of equal ones the most sensitive. Photographs with
    equal scores are always on the same side.

    Args:
        scores: P(referable), shape (N,).
        referable: Whether they are, shape (N,).
        sensitivity: The fixed sensitivity, in (0, 1].
        specificity: The fixed specificity, in (0, 1].

    Returns:
        Name -> `threshold`, `sensitivity` and `specificity` on these photographs, `n` and
        `referable` (how many they were); and a sentence for each point that could not be chosen.

    Source: Youden, "Index for rating diagnostic tests", Cancer 3, 1950.
    """
    ill, well = int(referable.sum()), int((~referable).sum())
    if not ill or not well:
        kind = "referable" if not ill else "non-referable"
        return {}, [f"the validation photographs hold no {kind} one, so no operating point could be chosen"]
    thresholds, sensitivities, specificities = _candidates(scores, referable)
    youden = sensitivities + specificities
    # Candidates go from referring everybody to all but nobody: sensitivity falls, specificity rises.
    chosen = {
        f"sensitivity_{round(100 * sensitivity)}": np.flatnonzero(sensitivities >= sensitivity - 1e-9)[-1:],
        f"specificity_{round(100 * specificity)}": np.flatnonzero(specificities >= specificity - 1e-9)[:1],
        "youden": np.flatnonzero(np.isclose(youden, youden.max(), rtol=0, atol=1e-12))[:1],
    }
    points = {
        name: {
            "threshold": float(thresholds[at[0]]),
            "sensitivity": float(sensitivities[at[0]]),
            "specificity": float(specificities[at[0]]),
            "n": ill + well,
            "referable": ill,
        }
        for name, at in chosen.items()
        if len(at)
    }
    notes = [
        f"operating point {name} could not be chosen: too many validation photographs share the highest score"
        for name, at in chosen.items()
        if not len(at)
    ]
    return points, notes


def choose_bounded_point(
    scores: NDArray[np.float64],
    referable: NDArray[np.bool_],
    sensitivity: float = SENSITIVITY,
    confidence: float = CONFIDENCE,
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Choose the threshold whose sensitivity is at least the promised one, with a stated confidence.

    `sensitivity_90_bound`: from the lowest threshold on, each is tested by the lower Clopper-Pearson bound of its
    sensitivity, until one fails; the last that passed is taken. Tests in a fixed order need no correction for their
    number (learn then test), so the promise holds for the chosen one: it is broken by chance in 1 - confidence of
    all validation sets. A point chosen by the sensitivity that was seen promises nothing.

    Args:
        scores: P(referable), shape (N,).
        referable: Whether they are, shape (N,).
        sensitivity: The promised sensitivity, in (0, 1).
        confidence: In (0, 1).

    Returns:
        As `choose_operating_points`, with `lower`, the bound, and `confidence`; or a sentence that says how many
        photographs it would need.

    Source: Clopper & Pearson, Biometrika 26, 1934; Angelopoulos et al., "Learn then Test", 2021.
    """
    ill = int(referable.sum())
    if not ill or ill == len(referable):
        return {}, []  # told by `choose_operating_points`
    name = f"sensitivity_{round(100 * sensitivity)}_bound"
    thresholds, sensitivities, specificities = _candidates(scores, referable)
    bounds = lower_bounds(np.rint(sensitivities * ill).astype(np.int64), ill, confidence)
    failed = np.flatnonzero(bounds < sensitivity)
    last = (failed[0] if len(failed) else len(bounds)) - 1
    if last < 1:  # the first candidate refers everybody, which needs no threshold
        needed = int(np.ceil(np.log(1 - confidence) / np.log(sensitivity)))
        return {}, [
            f"no threshold can be promised to find {sensitivity:.0%} with {confidence:.0%} confidence on {ill} "
            f"referable validation photographs; that takes {needed} or more"
        ]
    point = {
        "threshold": float(thresholds[last]), "sensitivity": float(sensitivities[last]),
        "specificity": float(specificities[last]), "n": len(referable), "referable": ill,
        "lower": float(bounds[last]), "confidence": confidence,
    }  # fmt: skip
    return {name: point}, []


def lower_bounds(hits: NDArray[np.int64], n: int, confidence: float) -> NDArray[np.float64]:
    """Return one-sided lower Clopper-Pearson bounds of proportions `hits / n`."""
    from scipy.stats import beta

    bounds = beta.ppf(1 - confidence, np.maximum(hits, 1), n - np.maximum(hits, 1) + 1)
    return np.where(hits > 0, bounds, 0.0)


def _candidates(
    scores: NDArray[np.float64], referable: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return every threshold that refers other photographs, rising, with its sensitivity and specificity."""
    values, group = np.unique(scores, return_inverse=True)
    ill = np.bincount(group, referable, minlength=len(values))
    well = np.bincount(group, ~referable, minlength=len(values))
    below = np.concatenate([[min(0.0, values[0])], values[:-1]])
    sensitivities = ill[::-1].cumsum()[::-1] / ill.sum()
    specificities = (well.cumsum() - well) / well.sum()
    return (below + values) / 2, sensitivities, specificities
