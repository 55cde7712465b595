"""How class probabilities become decisions; training, evaluation and the runtime all ask here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

# A label is given from this probability on.
THRESHOLD = 0.5
# Sums of float32 probabilities that are one half in truth (a value on a cut-off) come out this far beside it.
_TIE = 1e-7


@overload
def decide(probabilities: NDArray[Any], rule: str) -> NDArray[Any]: ...
@overload
def decide(probabilities: Tensor, rule: str) -> Tensor: ...
def decide(probabilities: Any, rule: str) -> Any:
    """Return the decisions that class probabilities lead to.

    Args:
        probabilities: Shape (N, C), an array or a tensor.
        rule: `argmax`, the most probable class (of equal ones the first); `median`, the grade at which the cumulative
            probability reaches one half; `threshold`, each label with a probability of one half or more; or `value`,
            the number that is given in the place of a probability.

    Returns:
        Classes, int64 (N,), for `threshold` labels, int64 (N, C), 0 or 1, for `value` float64 (N,); a tensor, on its
            device, where a tensor was given.

    Raises:
        ValueError: If there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"decision rule {rule!r} is unknown; valid: {', '.join(RULES)}")
    if isinstance(probabilities, np.ndarray):
        return RULES[rule](probabilities)
    import torch

    decided = RULES[rule](probabilities.detach().cpu().double().numpy())
    return torch.from_numpy(decided).to(probabilities.device)


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


RULES: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "argmax": lambda probabilities: probabilities.argmax(axis=1),
    "median": lambda probabilities: lies_above(probabilities).sum(axis=1),
    "threshold": lambda probabilities: (probabilities >= THRESHOLD).astype(np.int64),
    "value": lambda probabilities: probabilities[:, 0].astype(np.float64),
}
