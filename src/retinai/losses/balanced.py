"""Losses that weigh classes by their counts in the training split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from retinai.errors import ConfigError
from retinai.losses.base import LARGEST_GAMMA, Criterion, require_range, weighted_mean
from retinai.losses.focal import softmax_focal
from retinai.tasks.task import Task

_BASES = {"categorical": ("softmax", "focal"), "bernoulli": ("bce", "focal")}
_AGAINST = ("negatives", "labels")


def inverse_frequency(counts: Tensor) -> Tensor:
    """Return 1 / n, float64, (C,), for counts n of samples, all >= 1."""
    return 1.0 / counts.double()


def effective_number(counts: Tensor, beta: float) -> Tensor:
    """Return (1 - beta) / (1 - beta^n), float64, (C,), for counts n of samples, all >= 1.

    Args:
        counts: Samples per class, shape (C,).
        beta: Overlap of samples, in [0, 1); 0 gives 1 for every class, and near 1 it is 1 / n.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, eq. 4.
    """
    if beta == 0:
        return torch.ones_like(counts, dtype=torch.float64)
    return (beta - 1.0) / torch.expm1(counts.double() * math.log(beta))  # exact for a beta very near 1 as well


def _normalised(weights: Tensor) -> Tensor:
    return weights * len(weights) / weights.sum()


class ClassBalanced(Criterion):
    """A loss per sample weighed by the inverse frequency of its class.

    For grades the weights sum to C and the batch loss is the weighted mean, sum(w l) / sum(w).

    For multilabel the weight of a label falls on its positives alone; negatives count 1, and the batch loss is the
    mean. `against` says what the positives are weighed against:

    - `negatives`: a label is two classes, with it (n photographs) and without it (N - n), and the weight is that of
      the first over that of the second. By inverse frequency that is (N - n) / n, so that positives and negatives of
      each label count the same in all. Positives weigh less than negatives only where most photographs have the label.
    - `labels`: the positives of the other labels. The weights sum to C whatever the negatives, so positives of the
      commonest labels weigh less than their negatives.

    Args:
        task: Any task.
        class_counts: Samples or positives per class in the training split, all >= 1.
        num_samples: Samples in the training split, N; multilabel needs it to know the negatives.
        name: Name of the configuration.
        base: `softmax` (grades), `bce` (multilabel) or `focal`; None takes the plain one of the task.
        gamma: Focusing of `focal`, 0 to 100.
        label_smoothing: Of the bases `softmax` and `bce`: share of the target that is spread, in [0, 1).
        against: Multilabel only: `negatives` or `labels`.

    Raises:
        ConfigError: If a class has no sample or a label no negative (names it), the base does not suit the task, or
            `focal` is to smooth labels, which it does not define.

    Source: for (N - n) / n the `pos_weight` in PyTorch's documentation of `BCEWithLogitsLoss`.
    """

    target_types: ClassVar[tuple[str, ...]] = ("index", "labels")
    balances_classes: ClassVar[bool] = True

    def __init__(
        self,
        *,
        task: Task,
        class_counts: Sequence[int],
        num_samples: int | None = None,
        name: str = "class_balanced",
        base: str | None = None,
        gamma: float = 2.0,
        label_smoothing: float = 0.0,
        against: str = "negatives",
    ) -> None:
        super().__init__(task=task, class_counts=class_counts, num_samples=num_samples, name=name)
        self.check_counts()
        bases = _BASES[task.distribution]
        self.base = base or bases[0]
        if self.base not in bases:
            raise ConfigError([f"loss.base={base} does not suit task {task.name!r}; valid: {', '.join(bases)}"])
        if against not in _AGAINST:
            raise ConfigError([f"loss.against={against} is unknown; valid: {', '.join(_AGAINST)}"])
        self.against = against
        self.gamma = require_range("gamma", gamma, 0.0, LARGEST_GAMMA)
        self.label_smoothing = require_range("label_smoothing", label_smoothing, 0.0, 1.0, open_high=True)
        if self.label_smoothing and self.base == "focal":
            raise ConfigError(
                ["loss.label_smoothing suits the bases softmax and bce, not loss.base=focal; set it to 0"]
            )
        counts = torch.tensor(self.class_counts)
        if task.distribution == "bernoulli" and against == "negatives":
            self.set_class_weights(self.rarity(counts) / self.rarity(self._negatives(counts)))
        else:
            self.set_class_weights(_normalised(self.rarity(counts)))

    def rarity(self, counts: Tensor) -> Tensor:
        """Return weights of classes with these counts, all >= 1, shape (C,), float64, up to a common factor."""
        return inverse_frequency(counts)

    def _negatives(self, counts: Tensor) -> Tensor:
        if self.num_samples is None:
            raise ConfigError(
                ["a class-balanced loss of several labels needs num_samples=, the photographs in the training split"]
            )
        negatives = self.num_samples - counts
        always = [c for c, n in zip(self.task.classes, negatives.tolist(), strict=True) if n < 1]
        if always:
            raise ConfigError(
                [
                    f"every photograph in the training split has label {', '.join(map(repr, always))}, so there are "
                    "no negatives to weigh it against; use loss.against=labels, or a loss without class weights"
                ]
            )
        return negatives

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted loss of logits (B, C)."""
        assert self.class_weights is not None
        if self.task.distribution == "bernoulli":
            weights = 1.0 + (self.class_weights - 1.0) * targets
            if self.base == "focal":
                losses = sigmoid_focal_loss(logits, targets, alpha=-1.0, gamma=self.gamma, reduction="none")
            else:
                smooth = targets * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
                losses = functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
            return (weights * losses).mean()
        if self.base == "focal":
            return weighted_mean(softmax_focal(logits, targets, self.gamma), self.class_weights[targets])
        smoothing = self.label_smoothing
        return functional.cross_entropy(logits, targets, weight=self.class_weights, label_smoothing=smoothing)


class EffectiveNumber(ClassBalanced):
    """As `ClassBalanced`, with weights from the effective number of samples, (1 - beta) / (1 - beta^n).

    Multilabel: with `against=negatives` positives weigh (1 - beta^(N - n)) / (1 - beta^n), which goes to 1 for beta = 0
    and to (N - n) / n for beta near 1. `against=labels` is the class-balanced loss of the ODIR course (beta .999 on
    positives only): on its 517, 163 and 142 photographs with D, G and A the weights are .45, 1.20 and 1.36.

    Args:
        task: Any task.
        class_counts: Samples or positives per class in the training split, all >= 1.
        num_samples: Samples in the training split, N; multilabel needs it to know the negatives.
        name: Name of the configuration.
        base: `softmax` (grades), `bce` (multilabel) or `focal`; None takes the plain one of the task.
        gamma: Focusing of `focal`, 0 to 100.
        label_smoothing: Of the bases `softmax` and `bce`: share of the target that is spread, in [0, 1).
        beta: Overlap of samples, in [0, 1); nearer to 1 is nearer to the inverse frequency.
        against: Multilabel only: `negatives` or `labels`, see `ClassBalanced`.

    Raises:
        ConfigError: If a class has no sample, beta is out of range, the base does not suit the task, or
            `focal` is to smooth labels.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
    """

    def __init__(
        self,
        *,
        task: Task,
        class_counts: Sequence[int],
        num_samples: int | None = None,
        name: str = "effective_number",
        base: str | None = None,
        gamma: float = 2.0,
        label_smoothing: float = 0.0,
        beta: float = 0.999,
        against: str = "negatives",
    ) -> None:
        self.beta = require_range("beta", beta, 0.0, 1.0, open_high=True)
        super().__init__(
            task=task,
            class_counts=class_counts,
            num_samples=num_samples,
            name=name,
            base=base,
            gamma=gamma,
            label_smoothing=label_smoothing,
            against=against,
        )

    def rarity(self, counts: Tensor) -> Tensor:
        """Return weights of classes with these counts, all >= 1, shape (C,), float64, up to a common factor."""
        return effective_number(counts, self.beta)
