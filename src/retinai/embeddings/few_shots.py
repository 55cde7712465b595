"""How much a few labelled patients are worth: probes on random parts of the training part, the same for all files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def draw_patients(
    targets: NDArray[np.int64], patients: Sequence[str], percent: float, draws: int, seed: int
) -> list[NDArray[np.int64]]:
    """Draw training parts of a percentage of the patients.

    Patients are drawn at random, and then for each class of which fewer than two photographs came, more patients of
    that class, so that a probe can be fitted.

    Args:
        targets: Classes, shape (N,).
        patients: Whose photograph each is, N.
        percent: Above 0, up to 100.
        draws: Number of draws; 100 percent is drawn once.
        seed: Seed of the draws.

    Returns:
        The rows of each draw, in their order.
    """
    groups = np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1]
    count = int(groups.max()) + 1
    if percent >= 100:
        return [np.arange(len(targets))]
    random = np.random.default_rng([seed, round(1000 * percent)])
    wanted = max(1, round(count * percent / 100))
    drawn = []
    for _ in range(draws):
        order = random.permutation(count)
        chosen = set(order[:wanted].tolist())
        for label in np.unique(targets):
            of_class = groups[targets == label]
            for patient in order:
                if np.isin(of_class, list(chosen)).sum() >= min(2, len(of_class)):
                    break
                if patient in of_class:
                    chosen.add(int(patient))
        drawn.append(np.flatnonzero(np.isin(groups, list(chosen))))
    return drawn
