"""Cross-entropy of two grades at once, each from outputs of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from retinai.losses.base import Criterion, require_range
from retinai.tasks.joint import JointTask
from retinai.tasks.task import Task


class JointCrossEntropy(Criterion):
    """The sum of the cross-entropies of two grades; a pair's probability is the product of both.

    Args:
        task: A task of two grades of K and L classes.
        class_counts: Samples per pair in the training split.
        num_samples: Samples in the training split.
        name: Name of the configuration.
        second_weight: Factor of the second grade's part.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
    """

    target_types: ClassVar[tuple[str, ...]] = ("pair",)
    gives_class_logits: ClassVar[bool] = False

    def __init__(
        self,
        *,
        task: Task,
        class_counts: Sequence[int],
        num_samples: int | None = None,
        name: str = "joint",
        second_weight: float = 1.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(task=task, class_counts=class_counts, num_samples=num_samples, name=name)
        assert isinstance(task, JointTask)  # no other has targets that are pairs
        self.sizes = [len(names) for names in task.parts]
        self.num_outputs = sum(self.sizes)
        self.second_weight = require_range("second_weight", second_weight, 0.0, 1000.0)
        self.label_smoothing = require_range("label_smoothing", label_smoothing, 0.0, 1.0, open_high=True)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of logits (B, K + L) and pairs (B,)."""
        first, second = logits.split(self.sizes, dim=1)
        smoothing = self.label_smoothing
        one = functional.cross_entropy(first, targets // self.sizes[1], label_smoothing=smoothing)
        other = functional.cross_entropy(second, targets % self.sizes[1], label_smoothing=smoothing)
        return one + self.second_weight * other

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the pairs, (B, K L)."""
        first, second = (part.softmax(dim=1) for part in logits.float().split(self.sizes, dim=1))
        return (first.unsqueeze(2) * second.unsqueeze(1)).flatten(1)
