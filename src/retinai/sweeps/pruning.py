"""A callback that reports a trial's metric after each epoch and stops a trial that falls behind the others."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from retinai.log import logger
from retinai.sweeps.study import PRUNED_AT, open_study


class PruneTrial(Callback):
    """Stops a trial whose metric is below the median of the others' at the same epoch (Optuna's MedianPruner).

    Args:
        folder: The sweep's folder, with the journal of the study.
        trial: Number of the trial.
        monitor: Name of the validation metric.
        startup: Trials that are never stopped: there is nothing to compare with yet.
        warmup: Epochs of each trial in which it is not stopped.
    """

    def __init__(self, folder: str | Path, trial: int, monitor: str, startup: int = 5, warmup: int = 1) -> None:
        self.folder, self.number, self.monitor = Path(folder), trial, monitor
        self.startup, self.warmup = startup, warmup

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the metric; stop the training if Optuna says so. Only the first process does."""
        value = trainer.callback_metrics.get(self.monitor)
        stop = value is not None and math.isfinite(float(value)) and trainer.is_global_zero
        stop = stop and self._falls_behind(trainer.current_epoch, float(value if value is not None else math.nan))
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(stop, all=False) or trainer.should_stop

    def _falls_behind(self, epoch: int, value: float) -> bool:
        import optuna

        study = open_study(self.folder, pruner=optuna.pruners.MedianPruner(self.startup, self.warmup))
        trial = optuna.trial.Trial(study, study.trials[self.number]._trial_id)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an epoch that was done again after a requeue
            trial.report(value, epoch)
        if not trial.should_prune():
            return False
        trial.set_user_attr(PRUNED_AT, epoch)
        logger.info(f"trial {self.number}: stopped after epoch {epoch + 1}, {self.monitor} is below the others' median")
        return True
