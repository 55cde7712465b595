"""Binary cross-entropy for several labels at once, and its asymmetric form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from timm.loss import AsymmetricLossMultiLabel
from torch import Tensor
from torch.nn import functional

from retinai.losses.base import LARGEST_GAMMA, Criterion, require_range
from retinai.tasks.task import Task


class BinaryCrossEntropy(Criterion):
    """Sigmoid cross-entropy, mean over samples and labels.

    Args:
        task: A multilabel task.
        class_counts: Positives per label in the training split.
        num_samples: Samples in the training split.
        name: Name of the configuration.
        label_smoothing: Moves the targets 0 and 1 towards 0.5 by this share, in [0, 1).
    """

    target_types: ClassVar[tuple[str, ...]] = ("labels",)

    def __init__(
        self,
        *,
        task: Task,
        class_counts: Sequence[int],
        num_samples: int | None = None,
        name: str = "bce",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(task=task, class_counts=class_counts, num_samples=num_samples, name=name)
        self.label_smoothing = require_range("label_smoothing", label_smoothing, 0.0, 1.0, open_high=True)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over logits and targets, both (B, C)."""
        smooth = targets * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return functional.binary_cross_entropy_with_logits(logits, smooth)


class Asymmetric(Criterion):
    """Asymmetric loss: easy negatives count little, mean over samples and labels.

    Args:
        task: A multilabel task.
        class_counts: Positives per label in the training split.
        num_samples: Samples in the training split.
        name: Name of the configuration.
        gamma_negative: Focusing of negatives, 0 to 100.
        gamma_positive: Focusing of positives, 0 to 100.
        clip: Shift of the negatives' probability, in [0, 1).

    Source: Ridnik et al., "Asymmetric Loss For Multi-Label Classification", ICCV 2021; timm's
        implementation, which sums, divided by the number of elements.
    """

    target_types: ClassVar[tuple[str, ...]] = ("labels",)

    def __init__(
        self,
        *,
        task: Task,
        class_counts: Sequence[int],
        num_samples: int | None = None,
        name: str = "asymmetric",
        gamma_negative: float = 4.0,
        gamma_positive: float = 1.0,
        clip: float = 0.05,
    ) -> None:
        super().__init__(task=task, class_counts=class_counts, num_samples=num_samples, name=name)
        self.loss = AsymmetricLossMultiLabel(
            gamma_neg=require_range("gamma_negative", gamma_negative, 0.0, LARGEST_GAMMA),
            gamma_pos=require_range("gamma_positive", gamma_positive, 0.0, LARGEST_GAMMA),
            clip=require_range("clip", clip, 0.0, 1.0, open_high=True),
        )

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over logits and targets, both (B, C)."""
        return self.loss(logits, targets) / logits.numel()
