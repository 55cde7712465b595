"""The official score of the ODIR-2019 challenge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retinai.metrics.bootstrap import divide
from retinai.metrics.ranking import ranking_areas


def odir_scores(
    targets: NDArray[np.int64],
    decisions: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    weights: NDArray[np.float32],
) -> dict[str, NDArray[np.float64]]:
    """Return kappa, F1, AUC and their mean, all over the N x C labels laid end to end.

    The challenge's F1 is the micro average over both outcomes, which equals the share of right
    labels; that is why it looks high. Read `macro_f1` beside it.

    Args:
        targets: Shape (N, C), 0 or 1.
        decisions: Shape (N, C), 0 or 1, at a threshold of 0.5.
        probabilities: Shape (N, C).
        weights: Shape (R, N).

    Returns:
        `odir_kappa`, `odir_f1`, `odir_auc`, `odir_final`, each of shape (R,).

    Source: ODIR-2019 grand challenge, evaluation page and its scoring script.
    """
    labels = targets.shape[1]
    right = weights @ (targets == decisions).sum(axis=1).astype(np.float64)
    total = weights.sum(axis=1, dtype=np.float64) * labels
    true_yes, said_yes = weights @ targets.sum(axis=1).astype(float), weights @ decisions.sum(axis=1).astype(float)
    by_chance = true_yes * said_yes + (total - true_yes) * (total - said_yes)
    kappa = divide(right * total - by_chance, total**2 - by_chance)
    f1 = divide(right, total)
    auc = _flat_auc(targets, probabilities, weights)
    return {"odir_kappa": kappa, "odir_f1": f1, "odir_auc": auc, "odir_final": (kappa + f1 + auc) / 3}


def _flat_auc(
    targets: NDArray[np.int64], probabilities: NDArray[np.float64], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Compute the AUROC of all labels together, a block of resamples at a time to bound the memory."""
    n, labels = targets.shape
    step = max(1, 8_000_000 // (n * labels))
    parts = [
        ranking_areas(probabilities.ravel(), targets.ravel() == 1, np.repeat(weights[row : row + step], labels, axis=1))
        for row in range(0, len(weights), step)
    ]
    return np.concatenate([auroc for auroc, _ in parts])
