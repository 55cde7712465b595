"""Focal loss, for one label and for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from retinai.losses.base import LARGEST_GAMMA, Criterion, require_range
from retinai.tasks.task import Task


def softmax_focal(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """Return (1 - p_t)^gamma * -log p_t per sample, p_t the softmax probability of the target.

    Args:
        logits: Shape (B, C).
        targets: int64, shape (B,).
        gamma: Focusing, at least 0; 0 gives cross-entropy.

    Returns:
        Shape (B,).

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 4, with the softmax.
    """
    losses = functional.cross_entropy(logits, targets, reduction="none")
    # expm1 keeps 1 - p_t exact near 1, and the clamp keeps its gradient finite for gamma below 1.
    missed = (-(-losses).expm1()).clamp_min(1e-7 if gamma < 1 else 0.0)
    return missed**gamma * losses if gamma else losses


class Focal(Criterion):
    """Focal loss: softmax for one class per photograph, a sigmoid for each of several labels; mean over all elements.

    Args:
        task: Any task.
        class_counts: Samples or positives per class in the training split.
        num_samples: Samples in the training split.
        name: Name of the configuration.
        gamma: Focusing on hard samples, 0 to 100.
        alpha: Multilabel only: weight of positives in [0, 1], negatives have 1 - alpha; None weighs
            them alike. Mind that 0.25, the usual choice in detection, makes positives count less.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 4 and 5.
    """

    target_types: ClassVar[tuple[str, ...]] = ("index", "labels")

    def __init__(
        self,
        *,
        task: Task,
        class_counts: Sequence[int],
        num_samples: int | None = None,
        name: str = "focal",
        gamma: float = 2.0,
        alpha: float | None = None,
    ) -> None:
        super().__init__(task=task, class_counts=class_counts, num_samples=num_samples, name=name)
        self.gamma = require_range("gamma", gamma, 0.0, LARGEST_GAMMA)
        self.alpha = -1.0 if alpha is None else require_range("alpha", alpha, 0.0, 1.0)  # torchvision's word for none

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean focal loss of logits (B, C)."""
        if self.task.distribution == "categorical":
            return softmax_focal(logits, targets, self.gamma).mean()
        return sigmoid_focal_loss(logits, targets, alpha=self.alpha, gamma=self.gamma, reduction="mean")
