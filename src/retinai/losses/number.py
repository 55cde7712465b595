"""Regression on a number, which the network learns in standard deviations of the training part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from retinai.errors import ConfigError, DataError
from retinai.losses.base import Criterion
from retinai.tasks.task import Task

_LOSSES: dict[str, Callable[..., Tensor]] = {
    "smooth_l1": functional.smooth_l1_loss,
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
}


class NumberRegression(Criterion):
    """One output z, of which mean + spread * z is the number; the loss compares z with the target in the same scale.

    Mean and spread (standard deviation) are those of the training part, so that learning rates suit ages and pressures
    alike. They travel in the checkpoint.

    Args:
        task: A task of a number.
        class_counts: Photographs with a number in the training part, length 1.
        num_samples: Samples in the training part.
        name: Name of the configuration.
        loss: `smooth_l1` (squared within one spread, absolute beyond: outliers count less), `mse` or `l1`.
    """

    target_types: ClassVar[tuple[str, ...]] = ("number",)
    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        *,
        task: Task,
        class_counts: Sequence[int],
        num_samples: int | None = None,
        name: str = "number",
        loss: str = "smooth_l1",
    ) -> None:
        super().__init__(task=task, class_counts=class_counts, num_samples=num_samples, name=name)
        if loss not in _LOSSES:
            raise ConfigError([f"loss.loss={loss} is unknown; valid: {', '.join(_LOSSES)}"])
        self.loss = loss
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("spread", torch.tensor(1.0))

    def take_targets(self, targets: NDArray[np.float64]) -> None:
        """Take mean and spread of the training part's numbers (N,).

        Raises:
            DataError: If they are all the same.
        """
        spread = float(np.std(targets))
        if spread < 1e-12 * max(1.0, float(np.abs(targets).max())):
            raise DataError(
                f"every photograph of the training part has the number {float(targets[0]):g}, so there is nothing to "
                "learn; check the target column and the split"
            )
        self.mean.fill_(float(np.mean(targets)))
        self.spread.fill_(spread)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of logits (B, 1) and numbers (B,), in spreads."""
        return _LOSSES[self.loss](logits[:, 0], (targets.to(logits.dtype) - self.mean) / self.spread)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the numbers in the unit of the targets, shape (B, 1)."""
        return self.mean + self.spread * logits.float()
