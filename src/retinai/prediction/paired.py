"""Two models on the same photographs: the difference of every metric, with a paired interval."""

from __future__ import annotations

import numpy as np

from retinai.errors import DataError
from retinai.metrics.bootstrap import Interval, bootstrap_weights, interval
from retinai.prediction.metrics import measure
from retinai.prediction.predictions import Predictions


def paired_differences(
    first: Predictions, second: Predictions, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Return metric of `first` minus metric of `second`, with 95 % intervals.

    Every resample draws the same patients for both, so what makes a photograph hard for either cancels out:
    the interval is narrower than two separate intervals suggest.

    Args:
        first: With targets.
        second: Of the same photographs, in any order; a photograph may occur several times (seeds), and then
            as often in both.
        resamples: Bootstrap resamples of patients.
        seed: Seed of the bootstrap.

    Returns:
        Metric -> `{"value", "low", "high"}`, None where undefined.

    Raises:
        DataError: If tasks, photographs or labels differ.
    """
    if first.task != second.task:
        raise DataError(
            f"predictions of tasks {first.task.name!r} and {second.task.name!r} have no difference; compare runs of "
            "one task, or leave out against="
        )
    orders = [np.argsort(np.array(p.ids, dtype=str), kind="stable") for p in (first, second)]
    names = [np.array(p.ids, dtype=str)[order] for p, order in zip((first, second), orders, strict=True)]
    if not np.array_equal(names[0], names[1]):
        alone = set(names[0].tolist()) ^ set(names[1].tolist())
        raise DataError(
            f"a paired difference needs the same photographs on both sides, and {len(alone) or 'some'} are on one side "
            "only or more often; compare runs of the same folds, split and seeds"
        )
    if not np.array_equal(first.labelled[orders[0]], second.labelled[orders[1]]):
        raise DataError("a paired difference needs the same labels on both sides; some photographs have two")
    weights = bootstrap_weights([first.patients[i] for i in orders[0]], resamples, seed)
    values = []
    for predictions, order in zip((first, second), orders, strict=True):
        unsorted = np.empty_like(weights)
        unsorted[:, order] = weights
        values.append(measure(predictions, unsorted))
    return {name: interval(values[0][name] - values[1][name]) for name in values[0] if name != "per_class"}
