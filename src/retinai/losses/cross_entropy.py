"""Cross-entropy with label smoothing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from retinai.losses.base import Criterion, require_range
from retinai.tasks.task import Task


class CrossEntropy(Criterion):
    """Softmax cross-entropy, mean over the batch.

    Args:
        task: A task of grades.
        class_counts: Samples per class in the training split.
        num_samples: Samples in the training split.
        name: Name of the configuration.
        label_smoothing: Share of the target spread over all classes, in [0, 1).

    Source: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7.
    """

    def __init__(
        self,
        *,
        task: Task,
        class_counts: Sequence[int],
        num_samples: int | None = None,
        name: str = "cross_entropy",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(task=task, class_counts=class_counts, num_samples=num_samples, name=name)
        self.label_smoothing = require_range("label_smoothing", label_smoothing, 0.0, 1.0, open_high=True)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (B, C) and targets (B,)."""
        return functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
