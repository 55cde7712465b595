"""Where Hydra looks for sweepers and launchers; what they do stands in `retinai.sweeps`, imported when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(Sweeper):
    """Every combination of the values between commas (`hydra/sweeper=grid`, the default of `retinai train`)."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.hydra_context, self.task, self.config = hydra_context, task_function, config

    def sweep(self, arguments: Sequence[str]) -> Any:
        """Run or submit the jobs."""
        from retinai.sweeps.sweeper import Sweeping, sweep

        return sweep(Sweeping(self.config, self.hydra_context, self.task), list(arguments))
