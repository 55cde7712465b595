"""Validation metrics by torchmetrics, which have a value and give no warning when a class is absent."""

from __future__ import annotations

import warnings

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from retinai.metrics.decisions import decide


class MacroAuroc(torchmetrics.Metric):
    """Area under the ROC curve, one class against the rest, mean over the classes that can be scored.

    A class without a positive or without a negative sample has no such area and is left out; without
    any class that has one, the value is 0.5.

    Args:
        num_classes: Number of classes C.
    """

    full_state_update = False
    higher_is_better = True
    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("probabilities", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, targets: Tensor) -> None:
        """Add a batch: probabilities (B, C), and targets int64 (B,) or (B, C) of 0 and 1."""
        if targets.ndim == 1:
            targets = torch.nn.functional.one_hot(targets, self.num_classes)
        self.probabilities.append(probabilities)
        self.targets.append(targets.long())

    def compute(self) -> Tensor:
        """Return the mean area, a scalar."""
        probabilities = torchmetrics.utilities.dim_zero_cat(self.probabilities)
        targets = torchmetrics.utilities.dim_zero_cat(self.targets)
        scores = [
            binary_auroc(probabilities[:, c], targets[:, c])
            for c in range(self.num_classes)
            if 0 < int(targets[:, c].sum()) < len(targets)
        ]
        return torch.stack(scores).mean() if scores else torch.tensor(0.5)


class ValidationMetrics(torch.nn.Module):
    """The metrics that a task is validated by.

    Args:
        metrics: Name -> metric of decisions and targets.
        rule: How what a network gives becomes decisions, see `decide`.
    """

    def __init__(self, metrics: dict[str, torchmetrics.Metric], rule: str) -> None:
        super().__init__()
        self.decision_rule = rule
        self.of_decisions = torchmetrics.MetricCollection(dict(metrics), compute_groups=False)

    def update(self, probabilities: Tensor, targets: Tensor) -> None:
        """Add a batch: what the network gives (B, C), targets of the task, such as int64 (B,)."""
        self.of_decisions.update(decide(probabilities, self.decision_rule), targets)

    def compute(self) -> dict[str, Tensor]:
        """Return every metric as a scalar and forget the samples."""
        values = self.of_decisions.compute()
        self.reset()
        return values

    def reset(self) -> None:
        """Forget all samples."""
        self.of_decisions.reset()


class ClassValidation(ValidationMetrics):
    """The metrics that a task with classes is validated by: those of the decisions, and `auroc`.

    Args:
        metrics: Name -> metric of decisions and targets, both int64.
        num_classes: Number of classes C.
        rule: How probabilities become decisions, see `decide`.
    """

    def __init__(self, metrics: dict[str, torchmetrics.Metric], num_classes: int, rule: str) -> None:
        super().__init__(metrics, rule)
        self.auroc = MacroAuroc(num_classes)

    def update(self, probabilities: Tensor, targets: Tensor) -> None:
        """Add a batch: probabilities (B, C), targets int64 (B,) or float32 (B, C)."""
        super().update(probabilities, targets.long())
        self.auroc.update(probabilities, targets)

    def compute(self) -> dict[str, Tensor]:
        """Return every metric as a scalar and forget the samples.

        Kappa has no value when targets and decisions all are one grade; it then counts as 0, so that
        choosing the best epoch goes on.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"torchmetrics")
            area = self.auroc.compute()
            values = {**super().compute(), "auroc": area}
        return {name: torch.nan_to_num(value.float(), nan=0.0) for name, value in values.items()}

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.auroc.reset()


class NumberValidation(ValidationMetrics):
    """The metrics that a task of a number is validated by: `mae` and `rmse`, in the unit of the targets.

    Args:
        rule: How what a network gives becomes the number, see `decide`.
    """

    def __init__(self, rule: str) -> None:
        errors = {"mae": torchmetrics.MeanAbsoluteError(), "rmse": torchmetrics.MeanSquaredError(squared=False)}
        super().__init__(errors, rule)

    def update(self, probabilities: Tensor, targets: Tensor) -> None:
        """Add a batch: numbers (B, 1), targets float32 (B,)."""
        super().update(probabilities.to(targets.dtype), targets)
