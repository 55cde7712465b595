"""Ordinal losses: a grade is a row of questions, each "is it above grade k?"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from coral_pytorch.losses import coral_loss, corn_loss
from torch import Tensor, nn
from torch.nn import functional

from retinai.losses.base import Criterion
from retinai.tasks.task import Task


def probabilities_from_exceedance(exceedance: Tensor) -> Tensor:
    """Return class probabilities from P(y > k).

    Args:
        exceedance: P(y > k) for k = 0..C-2, falling along each row, shape (B, C - 1).

    Returns:
        P(y = k), shape (B, C); each row sums to 1.
    """
    padded = functional.pad(exceedance, (1, 0), value=1.0)
    return padded - functional.pad(exceedance, (0, 1), value=0.0)


class Corn(Criterion):
    """CORN: each output answers "above k?" for the samples that are above k - 1.

    Args:
        task: A task of grades.
        class_counts: Samples per class in the training split.
        num_samples: Samples in the training split.
        name: Name of the configuration.

    Source: Shi, Cao & Raschka, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based On
        Conditional Probabilities", 2021, eq. 6; loss by coral-pytorch.
    """

    target_types: ClassVar[tuple[str, ...]] = ("ordered",)
    gives_class_logits: ClassVar[bool] = False

    def __init__(
        self, *, task: Task, class_counts: Sequence[int], num_samples: int | None = None, name: str = "corn"
    ) -> None:
        super().__init__(task=task, class_counts=class_counts, num_samples=num_samples, name=name)
        self.num_outputs = task.num_classes - 1
        self.decision_rule = "median"

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the CORN loss of logits (B, C - 1) and targets (B,)."""
        return corn_loss(logits, targets, self.task.num_classes)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return class probabilities, shape (B, C); P(y > k) is the product of the answers up to k."""
        # A product as a sum of logarithms: exported networks have no running product.
        return probabilities_from_exceedance(functional.logsigmoid(logits.float()).cumsum(dim=1).exp())


class Coral(Criterion):
    """CORAL: one score, compared with a learned threshold per grade.

    Args:
        task: A task of grades.
        class_counts: Samples per class in the training split.
        num_samples: Samples in the training split.
        name: Name of the configuration.

    Source: Cao, Mirjalili & Raschka, "Rank Consistent Ordinal Regression for Neural Networks with
        Application to Age Estimation", Pattern Recognition Letters 2020, eq. 4; loss by coral-pytorch.
    """

    target_types: ClassVar[tuple[str, ...]] = ("ordered",)
    gives_class_logits: ClassVar[bool] = False

    def __init__(
        self, *, task: Task, class_counts: Sequence[int], num_samples: int | None = None, name: str = "coral"
    ) -> None:
        super().__init__(task=task, class_counts=class_counts, num_samples=num_samples, name=name)
        self.num_outputs = 1
        self.decision_rule = "median"
        steps = task.num_classes - 1
        # From 1 down, so that the thresholds start in their order (as coral-pytorch does).
        self.biases = nn.Parameter(torch.arange(steps, 0, -1).float() / steps)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the CORAL loss of logits (B, 1) and targets (B,)."""
        levels = (targets[:, None] > torch.arange(len(self.biases), device=targets.device)).float()
        return coral_loss(logits + self.biases, levels)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return class probabilities, shape (B, C)."""
        # The loss keeps the biases in order (theorem 1); sorting makes it certain in mid-training too.
        ordered = self.biases.float().sort(descending=True).values
        return probabilities_from_exceedance((logits.float() + ordered).sigmoid())
