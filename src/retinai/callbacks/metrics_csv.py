"""`metrics.csv`: one row per epoch with everything that was measured."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from retinai.files import write_text


class MetricsCsv(Callback):
    """Write `metrics.csv` whole after every epoch.

    Columns: `epoch` (from 0), `step` (optimiser steps so far), `lr` (the highest of the parameter groups, at
    the end of the epoch), `seconds` (training and validation), then every logged metric by name. A resumed
    run drops the rows of the epochs that it trains again.

    Args:
        run_folder: The run folder.
    """

    def __init__(self, run_folder: str | Path) -> None:
        self.path = Path(run_folder) / "metrics.csv"
        self._rows: list[dict[str, Any]] = []
        self._begin = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the rows of the run so far."""
        self._rows = read_rows(self.path) if self.path.exists() else []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; forget rows of this epoch and later, left by a killed run."""
        self._rows = [row for row in self._rows if int(row["epoch"]) < trainer.current_epoch]
        self._begin = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of the epoch and write the file."""
        if not trainer.is_global_zero:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if "_step" not in name}
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": learning_rate(trainer),
            "seconds": round(time.monotonic() - self._begin, 2),
            **{name: metrics[name] for name in sorted(metrics)},
        }
        self._rows.append(row)
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path, text.getvalue())


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a `metrics.csv` as text, column by column.

    Args:
        path: The file.
    """
    with Path(path).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def learning_rate(trainer: Trainer) -> float:
    """Return the highest learning rate among the parameter groups of all optimisers."""
    rates = [float(group["lr"]) for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return max(rates, default=float("nan"))
