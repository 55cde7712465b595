"""Stop when the monitored metric no longer improves."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from retinai.log import logger


class StopEarly(EarlyStopping):
    """Lightning's early stopping; a stopped run that is resumed stays stopped.

    Args:
        monitor: Name of the validation metric.
        patience: Epochs without a new best value after which training stops.
        min_delta: Smallest change that counts as better.
        mode: Whether higher (`max`) or lower (`min`) is better.
    """

    def __init__(self, monitor: str, patience: int = 15, min_delta: float = 0.0, mode: str = "max") -> None:
        # A metric that is not a number is no reason to stop: Lightning then counts an epoch without a better value.
        super().__init__(monitor=monitor, mode=mode, patience=patience, min_delta=min_delta, check_finite=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave at once when the run had already stopped; Lightning would train one more epoch."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say why training ended before its last epoch."""
        if self.stopped_epoch > 0 and trainer.is_global_zero:
            moved = "risen" if self.mode == "max" else "fallen"
            logger.info(
                f"early stopping: {self.monitor} has not {moved} for {self.patience} epochs "
                f"(best {float(self.best_score):.4f})"
            )
