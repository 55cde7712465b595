"""Stopwatches for trainings: from the end of the warm-up to the end of the last step."""

from __future__ import annotations

import time
from typing import Any

import lightning
import torch

from benchmarks.common import Spent


class Stopwatch:
    """Measures the steps of an optimiser after the first ones.

    Args:
        warm: First steps that are not counted.
    """

    def __init__(self, warm: int) -> None:
        self.warm, self.steps = warm, 0

    def step(self) -> None:
        """Note that a step of the optimiser has ended."""
        wait()
        self.steps += 1
        now = Spent(time.perf_counter(), time.process_time())
        if self.steps == self.warm:
            self.begin = now
        self.end = now

    @property
    def taken(self) -> Spent:
        """What the steps after the warm-up took."""
        return Spent(self.end.seconds - self.begin.seconds, self.end.processor - self.begin.processor)


class LightningWatch(lightning.Callback):
    """Tells a stopwatch of Lightning's steps.

    Args:
        watch: The stopwatch.
        accumulate: Batches per step of the optimiser.
    """

    def __init__(self, watch: Stopwatch, accumulate: int = 1) -> None:
        self.watch, self.accumulate = watch, accumulate

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the end of the last batch of a step."""
        if (batch_idx + 1) % self.accumulate == 0:
            self.watch.step()


def wait() -> None:
    """Let the GPU, if there is one, finish what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
