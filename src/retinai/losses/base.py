"""The base of all losses: the loss, the class probabilities of its logits, and their decision rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retinai.config.build import check_kind
from retinai.config.paths import conf_dir
from retinai.errors import ConfigError
from retinai.losses.divergence import class_probabilities
from retinai.tasks.task import Task

# Differences of float32 probabilities are rounded by this much, so smaller ones mean nothing.
_LEAST_PROBABILITY = 1e-7
# Far beyond any use; larger exponents only make gradients that are not finite.
LARGEST_GAMMA = 100.0


class Criterion(nn.Module):
    """A loss that knows how its logits become class probabilities.

    Args:
        task: The task of the data; its targets must be of one of `target_types`.
        class_counts: Samples (multilabel: positives) per class in the training split, length C.
        num_samples: Samples in the training split; needed where positives are weighed against
            negatives.
        name: Name of the configuration.

    Attributes:
        target_types: What it can learn from, see `Task`: `index`, `ordered`, `labels`, `number`.
        trains_classifiers: Whether `loss=` may choose it for a classifier.
        balances_classes: Whether it weighs classes by their counts.
        gives_class_logits: Whether the outputs are class logits, one per class.
        num_outputs: Logits per photograph.
        decision_rule: How its probabilities become decisions, see `retinai.metrics.decisions.decide`.
        class_weights: Weights per class, shape (C,), or None.

    Raises:
        ConfigError: If the loss cannot learn from the task's targets.
    """

    # Arguments that the module gives; the others come from the `loss` section.
    given: ClassVar[tuple[str, ...]] = ("task", "class_counts", "num_samples")
    target_types: ClassVar[tuple[str, ...]] = ("index",)
    trains_classifiers: ClassVar[bool] = True
    balances_classes: ClassVar[bool] = False
    gives_class_logits: ClassVar[bool] = True
    class_weights: Tensor | None

    def __init__(
        self, *, task: Task, class_counts: Sequence[int], num_samples: int | None = None, name: str = ""
    ) -> None:
        super().__init__()
        if not self.suits(task):
            raise ConfigError(
                [
                    f"loss={name or type(self).__name__} does not suit task {task.name!r}, whose targets are "
                    f"{' and '.join(task.target_types)}; losses for it: {', '.join(losses_for(task))}"
                ]
            )
        if len(class_counts) != task.num_classes:
            raise ConfigError(
                [f"task {task.name!r} has {task.num_classes} classes, but {len(class_counts)} class counts"]
            )
        self.task = task
        self.class_counts = [int(n) for n in class_counts]
        if num_samples is None and task.distribution == "categorical":
            num_samples = sum(self.class_counts)
        self.num_samples = num_samples
        self.num_outputs = task.num_classes
        self.decision_rule = task.decision_rules[0]
        self.register_buffer("class_weights", None)

    @classmethod
    def suits(cls, task: Task) -> bool:
        """Return whether it can learn from the task's targets."""
        return not set(cls.target_types).isdisjoint(task.target_types)

    def set_class_weights(self, weights: Tensor) -> None:
        """Keep class weights, shape (C,), float32; they follow the module to its device."""
        # Not persistent: they follow from the counts, which travel in the checkpoint.
        self.register_buffer("class_weights", weights.float(), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            logits: Shape (B, num_outputs).
            targets: As the task has them in a batch: int64 (B,) for grades, float32 (B, C) of 0 and 1 for labels,
                float32 (B,) for a number.
        """
        raise NotImplementedError

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return class probabilities, shape (B, C); of a categorical task rows sum to 1, of a number it is that."""
        return class_probabilities(logits.float(), self.task.distribution)

    def class_logits(self, logits: Tensor) -> Tensor:
        """Return numbers whose softmax (multilabel: sigmoid) is the class probabilities, shape (B, C).

        Where the outputs are not such numbers themselves they are the logarithms of the probabilities.
        """
        if self.gives_class_logits:
            return logits.float()
        return self.probabilities(logits).float().clamp_min(_LEAST_PROBABILITY).log()

    def take_targets(self, targets: NDArray[Any]) -> None:
        """Look at the training part's targets before the training (nothing, unless a loss says so).

        Args:
            targets: Of `Task.target_array`, of all training photographs.

        Raises:
            DataError: If nothing can be learned from them.
        """

    def fit(self, logits: Tensor, targets: Tensor) -> None:
        """Fit what is fitted on validation (nothing, unless a loss says so)."""

    def check_counts(self) -> None:
        """Refuse class weights where a class has no sample.

        Raises:
            ConfigError: Names the classes without a sample.
        """
        empty = [c for c, n in zip(self.task.classes, self.class_counts, strict=True) if n < 1]
        if empty:
            raise ConfigError(
                [
                    f"class {', '.join(map(repr, empty))} has no sample in the training split, so it has no weight; "
                    "use a loss without class weights, another split, or more data"
                ]
            )


def losses_for(task: Task) -> list[str]:
    """Return the names of the losses of `conf/loss/` that a classifier can learn a task with."""
    import yaml

    found = []
    for path in sorted((conf_dir() / "loss").glob("*.yaml")):
        criterion = check_kind(yaml.safe_load(path.read_text(encoding="utf-8")), Criterion, trusted=True)
        if criterion.trains_classifiers and criterion.suits(task):
            found.append(path.stem)
    return found


def require_range(key: str, value: float, low: float, high: float, *, open_high: bool = False) -> float:
    """Return `value` if it is in [low, high] (or [low, high)).

    Raises:
        ConfigError: Names the key and the range.
    """
    if not low <= value <= high or (open_high and value == high):
        raise ConfigError(
            [f"loss.{key}={value} is out of range ({low:g} to {high:g}{', exclusive' if open_high else ''})"]
        )
    return float(value)


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Return sum(w l) / sum(w) over a batch, as PyTorch's weighted cross-entropy does; both shape (B,)."""
    return (losses * weights).sum() / weights.sum().clamp_min(torch.finfo(losses.dtype).tiny)
