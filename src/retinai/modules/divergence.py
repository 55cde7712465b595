"""Stop a run at the first loss that is no finite number: nothing that it would learn after that can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from retinai.errors import UserError

if TYPE_CHECKING:
    from lightning import Trainer

    from retinai.modules.base import BaseModule


class DivergedError(UserError):
    """Training whose loss or weights are no finite numbers any more."""


def stop_if_diverged(module: BaseModule, loss: Tensor, name: str, batch: int) -> None:
    """Raise when a loss is NaN or infinite in any process of the run.

    Args:
        module: In training or validation.
        loss: A scalar.
        name: `train/loss` or `val/loss`.
        batch: Number of the batch in its epoch, from 0.

    Raises:
        DivergedError: Names the loss, the place and the learning rate, and what to try.
    """
    trainer = module.trainer
    diverged = not bool(torch.isfinite(loss.detach()).all())
    if trainer.world_size > 1:
        # One process that stops alone would leave the others waiting for its gradients.
        diverged = trainer.strategy.reduce_boolean_decision(diverged, all=False)
    if not diverged:
        return
    rates = [float(group["lr"]) for optimizer in trainer.optimizers for group in optimizer.param_groups]
    rate = f", learning rate {max(rates):.3g}" if rates else ""
    value = float(loss.detach())
    shown = f"{value:g}" if not torch.isfinite(torch.tensor(value)) else "not finite in another process"
    raise DivergedError(
        f"{name} is {shown} at step {trainer.global_step} (epoch {module.current_epoch + 1}, batch {batch + 1}{rate}), "
        f"so training was stopped; try {_advice(trainer)}"
    )


def _advice(trainer: Trainer) -> str:
    """Return what may help; nothing that is so already."""
    ways = ["a lower optimizer.lr"]
    if trainer.global_step == 0:  # no rate has moved anything yet
        ways = ["other backbone.mean and backbone.std, start weights, teachers or settings of the loss"]
    elif not trainer.gradient_clip_val:
        ways.append("trainer.gradient_clip_val=1")
    if "32" not in str(trainer.precision):
        ways.append(f"trainer.precision=32-true (now {trainer.precision})")
    return ", or ".join(ways)
