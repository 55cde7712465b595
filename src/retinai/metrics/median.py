"""The median of a distribution over ordered grades: where the cumulative probability reaches one half."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Sums of float32 probabilities that are one half in truth (a value on a cut-off) come out this far beside it.
_TIE = 1e-7


def lies_above(probabilities: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether the median lies above grade k, for k = 0..C-2; the number of true ones is the median.

    It does where P(grade > k) > 1/2: the rule of CORAL and CORN.

    Args:
        probabilities: Shape (N, C), each row adds up to 1 but for rounding.

    Returns:
        Shape (N, C - 1).

    Source: Cao, Mirjalili & Raschka, "Rank Consistent Ordinal Regression for Neural Networks with Application to
        Age Estimation", Pattern Recognition Letters 2020, eq. 3.
    """
    up_to = np.cumsum(probabilities, axis=1, dtype=np.float64)
    return up_to[:, :-1] < 0.5 * up_to[:, -1:] - _TIE
