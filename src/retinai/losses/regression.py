"""Regression on the grade, with cut-offs fitted on validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

from retinai.errors import ConfigError
from retinai.losses.base import Criterion
from retinai.losses.ordinal import probabilities_from_exceedance
from retinai.metrics.grade import confusion_matrix, quadratic_weighted_kappa
from retinai.tasks.task import Task

_LOSSES: dict[str, Callable[..., Tensor]] = {"mse": functional.mse_loss, "smooth_l1": functional.smooth_l1_loss}
# The least distance between cut-offs and the least spread, in grades: no grade becomes unreachable.
_LEAST_GAP = 1e-3
_LEAST_SIGMA = 0.1


def fit_cutoffs(values: np.ndarray, targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the cut-offs that turn values into grades with the highest quadratic kappa.

    Nelder-Mead from k + 0.5 and from the quantiles of the true grades; ties keep the start, so that
    cut-offs move only for a gain.

    Args:
        values: Predicted grades, shape (N,).
        targets: True grades, shape (N,).
        num_classes: Number of grades C.

    Returns:
        Rising cut-offs, shape (C - 1,).
    """
    even = np.arange(num_classes - 1) + 0.5
    shares = np.cumsum(np.bincount(targets.astype(int), minlength=num_classes))[:-1] / len(targets)
    starts = [even, _rising(np.quantile(values, np.clip(shares, 0.0, 1.0)))]

    def cost(cutoffs: np.ndarray) -> float:
        decisions = np.searchsorted(_rising(cutoffs), values, side="left")
        # A faint pull to even cut-offs: without it those between unused grades wander off.
        kappa = quadratic_weighted_kappa(confusion_matrix(targets, decisions, num_classes)[None].astype(float))[0]
        return -float(np.nan_to_num(kappa)) + 1e-4 * float(np.mean((cutoffs - even) ** 2))

    best = min(starts, key=cost)
    for start in starts:
        simplex = np.vstack([start, start + 0.3 * np.eye(num_classes - 1)])
        found = minimize(cost, start, method="Nelder-Mead", options={"initial_simplex": simplex, "maxiter": 400})
        best = min(best, found.x, key=cost)
    return _rising(best)


def _rising(cutoffs: np.ndarray) -> np.ndarray:
    """Sort cut-offs and keep them a little apart."""
    steps = _LEAST_GAP * np.arange(len(cutoffs))
    return np.maximum.accumulate(np.sort(cutoffs) - steps) + steps


class GradeRegression(Criterion):
    """One output, the grade as a number; cut-offs that maximise quadratic kappa on validation.

    The output is read as a normal distribution around the predicted grade, with a spread that is
    fitted too; the probability of a grade is the mass between its cut-offs. The median of that
    distribution lies where the prediction lies, so the decision is exactly the cut-offs' binning.

    Args:
        task: A task of grades.
        class_counts: Samples per class in the training split.
        num_samples: Samples in the training split.
        name: Name of the configuration.
        loss: `mse` or `smooth_l1`.
        fit_on_validation: False keeps the cut-offs at k + 0.5.
    """

    target_types: ClassVar[tuple[str, ...]] = ("ordered",)
    gives_class_logits: ClassVar[bool] = False
    cutoffs: Tensor
    sigma: Tensor

    def __init__(
        self,
        *,
        task: Task,
        class_counts: Sequence[int],
        num_samples: int | None = None,
        name: str = "regression",
        loss: str = "smooth_l1",
        fit_on_validation: bool = True,
    ) -> None:
        super().__init__(task=task, class_counts=class_counts, num_samples=num_samples, name=name)
        if loss not in _LOSSES:
            raise ConfigError([f"loss.loss={loss} is unknown; valid: {', '.join(_LOSSES)}"])
        self.loss, self.fit_on_validation = loss, bool(fit_on_validation)
        self.num_outputs = 1
        self.decision_rule = "median"
        total = max(sum(self.class_counts), 1)
        # The head starts at 0, so the mean grade of the training split is where predictions start.
        self.offset = sum(k * n for k, n in enumerate(self.class_counts)) / total
        self.register_buffer("cutoffs", torch.arange(task.num_classes - 1) + 0.5)
        self.register_buffer("sigma", torch.tensor(0.5))

    def grades(self, logits: Tensor) -> Tensor:
        """Return predicted grades as numbers, shape (B,), from logits (B, 1)."""
        return logits[:, 0] + self.offset

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of logits (B, 1) and grades (B,)."""
        grades = self.grades(logits)
        return _LOSSES[self.loss](grades, targets.to(grades.dtype))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return class probabilities, shape (B, C): the normal mass between neighbouring cut-offs."""
        # Double precision, so that a grade just above a cut-off stays above it.
        distance = (self.grades(logits).double()[:, None] - self.cutoffs.double()) / self.sigma.double()
        return probabilities_from_exceedance(torch.special.ndtr(distance))

    @torch.no_grad()
    def fit(self, logits: Tensor, targets: Tensor) -> None:
        """Fit cut-offs and spread on validation logits (N, 1) and grades (N,); kept in buffers."""
        if not self.fit_on_validation or len(targets) == 0:
            return
        values, truth = self.grades(logits).double().cpu().numpy(), targets.cpu().numpy()
        if not np.isfinite(values).all():
            return  # training has diverged; the loss shows it
        self.cutoffs.copy_(torch.from_numpy(fit_cutoffs(values, truth, self.task.num_classes)))
        spread = float(np.sqrt(np.mean((values - truth) ** 2)))
        self.sigma.fill_(max(spread, _LEAST_SIGMA))
