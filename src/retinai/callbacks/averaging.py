"""An exponential moving average of the weights, which is validated and kept in the checkpoints."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class AveragedWeights(WeightAveraging):
    """Exponential moving average of weights and buffers after every optimiser step.

    Validation sees the averaged weights; `best.ckpt` and `last.ckpt` hold them as the module's state, and
    `last.ckpt` the running weights too, so that a run goes on from both. The decay starts low and rises to
    its value, else the average of a short run would stay at its start.

    Args:
        decay: Weight of the past at each step, in [0, 1).

    Source: the warm-up min(decay, (1 + n) / (10 + n)) is that of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, decay: float = 0.99) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay

        def average(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
            if not averaged.is_floating_point():  # counters such as num_batches_tracked
                return current
            warm = min(decay, (1 + int(steps)) / (10 + int(steps)))
            return averaged.lerp(current, 1 - warm)  # frozen weights, which are equal, stay the same to the last bit

        super().__init__(use_buffers=True, avg_fn=average)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the averaged weights in place for the module's own end of the epoch.

        The base class puts the running weights back here, before the module's hook runs; what a module fits
        on the validation predictions (cut-offs on a regressed grade) would land in the wrong weights.
        """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the running weights back."""
        if self._average_model is not None:
            self._swap_models(pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the step of the last update; a checkpoint of a run without averaging has none."""
        self._latest_update_step = state_dict.get("latest_update_step", 0)
