"""Losses that weigh classes by their counts in the training split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from retinai.data.task import Task
from retinai.errors import ConfigError
from retinai.losses.base import Objective, require_range, weighted_mean
from retinai.losses.focal import softmax_focal

_BASES = {"grade": ("softmax", "focal"), "multilabel": ("bce", "focal")}


def inverse_frequency_weights(counts: Tensor) -> Tensor:
    """Return class weights 1 / n, normalised to sum to C.

    Args:
        counts: Samples per class in the training split, shape (C,), all >= 1.

    Returns:
        Weights, shape (C,), float32.

    Raises:
        ValueError: If a count is 0; names the class.
    """
    _require_samples(counts)
    return _normalised(1.0 / counts.double())


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """Return class weights (1 - beta) / (1 - beta^n), normalised to sum to C.

    Args:
        counts: Samples per class in the training split, shape (C,), all >= 1.
        beta: Overlap of samples, in [0, 1); 0 gives equal weights.

    Returns:
        Weights, shape (C,), float32.

    Raises:
        ValueError: If a count is 0 (names the class) or beta is out of range.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, eq. 4.
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta={beta} is out of range (0 up to, not including, 1)")
    _require_samples(counts)
    return _normalised((1.0 - beta) / (1.0 - beta ** counts.double()))


def _require_samples(counts: Tensor) -> None:
    if bool((counts < 1).any()):
        raise ValueError(f"class {int((counts < 1).nonzero()[0])} has no sample, so it has no weight")


def _normalised(weights: Tensor) -> Tensor:
    return (weights * len(weights) / weights.sum()).float()


class ClassBalanced(Objective):
    """A loss per sample weighed by the inverse frequency of its class.

    For grades the batch loss is the weighted mean, sum(w l) / sum(w). For multilabel the weight of a
    label falls on its positives alone; negatives count 1.

    Args:
        task: Any task.
        class_counts: Samples or positives per class in the training split, all >= 1.
        num_samples: Samples in the training split.
        name: Name of the configuration.
        base: `softmax` (grades), `bce` (multilabel) or `focal`; None takes the plain one of the task.
        gamma: Focusing of `focal`, at least 0.
        label_smoothing: Of the bases `softmax` and `bce`: share of the target that is spread, in [0, 1).

    Raises:
        ConfigError: If a class has no sample (names it), the base does not suit the task, or `focal` is
            to smooth labels, which it does not define.
    """

    kinds: ClassVar[tuple[str, ...]] = ("grade", "multilabel")
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
    ) -> None:
        super().__init__(task=task, class_counts=class_counts, num_samples=num_samples, name=name)
        self.check_counts()
        self.base = base or _BASES[task.kind][0]
        if self.base not in _BASES[task.kind]:
            valid = ", ".join(_BASES[task.kind])
            raise ConfigError(
                [f"loss.base={base} does not suit task {task.name!r} of kind {task.kind}; valid: {valid}"]
            )
        self.gamma = require_range("gamma", gamma, 0.0, float("inf"))
        self.label_smoothing = require_range("label_smoothing", label_smoothing, 0.0, 1.0, open_high=True)
        if self.label_smoothing and self.base == "focal":
            raise ConfigError(
                ["loss.label_smoothing suits the bases softmax and bce, not loss.base=focal; set it to 0"]
            )
        self.set_class_weights(self.weigh(torch.tensor(self.class_counts)))

    def weigh(self, counts: Tensor) -> Tensor:
        """Return weights, shape (C,), that sum to C."""
        return inverse_frequency_weights(counts)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted loss of logits (B, C)."""
        assert self.class_weights is not None
        if self.task.kind == "multilabel":
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
    """As `ClassBalanced`, with weights from the effective number of samples.

    Args:
        task: Any task.
        class_counts: Samples or positives per class in the training split, all >= 1.
        num_samples: Samples in the training split.
        name: Name of the configuration.
        base: `softmax` (grades), `bce` (multilabel) or `focal`; None takes the plain one of the task.
        gamma: Focusing of `focal`, at least 0.
        label_smoothing: Of the bases `softmax` and `bce`: share of the target that is spread, in [0, 1).
        beta: Overlap of samples, in [0, 1); nearer to 1 is nearer to the inverse frequency.

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
        )

    def weigh(self, counts: Tensor) -> Tensor:
        """Return weights, shape (C,), that sum to C."""
        return effective_number_weights(counts, self.beta)
