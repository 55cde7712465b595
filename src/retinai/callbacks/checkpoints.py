"""`checkpoints/best.ckpt` and `checkpoints/last.ckpt` of a run, written at the end of an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from retinai.encoders.checkpoint_io import remove_torn_checkpoints

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class RunCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint callback with one fixed file name and a state that survives moving the run folder.

    Args:
        run_folder: The run folder; files go to `checkpoints/` below it.
        filename: Name without suffix.
        monitor: Metric whose best value is kept; None keeps the newest epoch.
        mode: Whether the best value is the highest (`max`) or the lowest (`min`).
    """

    def __init__(self, run_folder: str | Path, filename: str, monitor: str | None = None, mode: str = "max") -> None:
        super().__init__(
            dirpath=Path(run_folder) / "checkpoints",
            filename=filename,
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove what a killed run left half-written."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and trainer.is_global_zero and self.dirpath is not None:
            remove_torn_checkpoints(self.dirpath)

    def state_dict(self) -> dict[str, Any]:
        """Return Lightning's state with file names in place of full paths."""
        state = super().state_dict()
        names = {key: Path(state[key]).name if state[key] else "" for key in _PATHS}
        best = {Path(path).name: score for path, score in state["best_k_models"].items()}
        return {**state, **names, "best_k_models": best, "dirpath": ""}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state again, in the folder where the run lies now."""
        folder = Path(str(self.dirpath))
        paths = {key: str(folder / state_dict[key]) if state_dict.get(key) else "" for key in _PATHS}
        best = {str(folder / name): score for name, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath})


class BestCheckpoint(RunCheckpoint):
    """`best.ckpt`: the epoch with the best monitored value; of equal ones the earliest.

    An epoch whose value is not a number (a class absent from a tiny validation part) never replaces
    one that has a value, and the first epoch is kept whatever its value, so that there is a file.

    Args:
        run_folder: The run folder.
        monitor: Name of the validation metric.
        mode: Whether higher (`max`) or lower (`min`) is better.
    """

    def __init__(self, run_folder: str | Path, monitor: str, mode: str = "max") -> None:
        super().__init__(run_folder, "best", monitor, mode)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether `current` is better than what is kept."""
        if current is not None and torch.isnan(current):
            # Lightning would keep NaN out by comparison, but only once a value is there to compare with.
            return not self.best_k_models
        return super().check_monitor_top_k(trainer, current)


class LastCheckpoint(RunCheckpoint):
    """`last.ckpt`: the newest epoch, from which `resume=true` goes on.

    It must come after `BestCheckpoint` among the callbacks, so that it holds the best value of its own epoch.

    Args:
        run_folder: The run folder.
    """

    def __init__(self, run_folder: str | Path) -> None:
        super().__init__(run_folder, "last")


def keep_untrained(trainer: Trainer, module: LightningModule, run_folder: Path) -> None:
    """Write the start weights as both checkpoints of a run without training (`trainer.max_epochs=0`).

    Args:
        trainer: The run's trainer, not used before.
        module: The module with its start weights.
        run_folder: The run folder.
    """
    trainer.strategy.connect(module)
    for name in ("best", "last"):
        trainer.save_checkpoint(run_folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
