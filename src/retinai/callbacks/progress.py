"""Progress on the console: a bar on a terminal, one line per epoch everywhere."""

from __future__ import annotations

import math
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class EpochProgress(Callback):
    """Print a line when an epoch ends: losses, monitored metric, best so far, time left.

    On a terminal a bar shows the batches meanwhile; a log file (SLURM) gets the lines only.

    Args:
        monitor: Name of the metric that chooses the best epoch.
        console: Where to print; None is the standard output.
        mode: Whether higher (`max`) or lower (`min`) is better.
    """

    def __init__(self, monitor: str, console: Console | None = None, mode: str = "max") -> None:
        self.monitor = monitor
        self.mode = mode
        self.console = console or Console(highlight=False)
        self._best: tuple[float, int] | None = None
        self._bar: Progress | None = None
        self._job: Any = None
        self._begin = 0.0
        self._seconds: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far and its epoch."""
        return {"best": list(self._best) if self._best else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best value so far again."""
        best = state_dict["best"]
        self._best = (float(best[0]), int(best[1])) if best else None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and the bar on a terminal."""
        self._begin = time.monotonic()
        if not (trainer.is_global_zero and self.console.is_terminal):
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[loss]}"), console=self.console, transient=True)
        total = trainer.num_training_batches
        self._job = self._bar.add_task(
            f"epoch {trainer.current_epoch + 1}", total=total if math.isfinite(total) else None, loss=""
        )
        self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self._bar.update(self._job, completed=batch_idx + 1)
        if loss is not None and batch_idx % 10 == 0:  # reading the loss waits for the device, so not every batch
            self._bar.update(self._job, loss=f"loss {float(loss):.4f}")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that the photographs are now those of validation."""
        if self._bar is not None:
            self._bar.update(self._job, description=f"epoch {trainer.current_epoch + 1}, validation")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the epoch."""
        self._stop_bar()
        self._seconds.append(time.monotonic() - self._begin)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        value = metrics.get(self.monitor, math.nan)
        if not math.isnan(value) and (self._best is None or self._is_better(value, self._best[0])):
            self._best = (value, trainer.current_epoch + 1)
        if trainer.is_global_zero:
            self.console.print(self._line(trainer, metrics), soft_wrap=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._stop_bar()

    def _is_better(self, value: float, than: float) -> bool:
        return value > than if self.mode == "max" else value < than

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _line(self, trainer: Trainer, metrics: dict[str, float]) -> str:
        last = trainer.max_epochs or 0
        epoch = trainer.current_epoch + 1
        parts = [f"epoch {epoch:>{len(str(last))}}/{last}" if last > 0 else f"epoch {epoch}"]
        shown = dict.fromkeys(("train/loss", "val/loss", self.monitor))
        parts += [f"{name} {metrics[name]:.4f}" for name in shown if name in metrics]
        if self._best is not None:
            parts.append(f"best {self._best[0]:.4f} (epoch {self._best[1]})")
        parts.append(f"{clock(self._seconds[-1])}")
        if last > epoch:
            recent = self._seconds[-5:]
            parts.append(f"left {clock(sum(recent) / len(recent) * (last - epoch))}")
        return "  ".join(parts)


def clock(seconds: float) -> str:
    """Return a duration as `41s`, `3m 05s` or `2h 10m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
