"""Whether an encoder says the same of all photographs: spread and rank of its features."""

from __future__ import annotations

import torch
from torch import Tensor


def spread(features: Tensor) -> float:
    """Return the standard deviation over photographs, mean over dimensions; features (N, D), N from 2."""
    return float(features.float().std(dim=0).mean())


def effective_rank(features: Tensor) -> float:
    """Return how many directions features (N, D) use: from 1 to min(N, D), by the entropy of their singular values.

    The mean over photographs is taken off first, so that a common part counts for nothing.

    Source: Roy & Vetterli, "The effective rank", EUSIPCO 2007; as a monitor of self-supervised training Garrido et
        al., "RankMe", ICML 2023.
    """
    values = features.double()
    singular = torch.linalg.svdvals(values - values.mean(dim=0))
    total = singular.sum()
    if total <= 0:
        return 1.0
    share = singular / total
    share = share[share > 0]
    return float((-(share * share.log()).sum()).exp())
