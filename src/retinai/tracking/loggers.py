"""Whom a run tells its metrics besides `metrics.csv`: Weights & Biases, TensorBoard, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from retinai.errors import MissingExtraError
from retinai.tracking import wandb
from retinai.tracking.wandb_tables import summary

if TYPE_CHECKING:
    from retinai.prediction.predictions import Predictions

_FOLDER = "tensorboard"


def make_logger(node: Mapping[str, Any], run_folder: str | Path, config: Mapping[str, Any]) -> Logger | None:
    """Return the logger of a `logger` section; None for `none` and `csv`, whose files are written in any case.

    Args:
        node: The section; `name` is `wandb`, `tensorboard`, `csv` or `none`.
        run_folder: The run folder.
        config: The whole configuration, plain.

    Raises:
        ConfigError: If the section of W&B has an unknown key or value.
        MissingExtraError: If TensorBoard's writer is not installed.
    """
    name = node.get("name")
    if name == "csv":
        return None
    if name != "tensorboard":
        return wandb.make_logger(node, run_folder, config)
    try:
        # One folder for a run and what resumes it: TensorBoard joins the files in it.
        return TensorBoardLogger(save_dir=str(run_folder), name="", version=_FOLDER, default_hp_metric=False)
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorboardX", "tensorboard") from error


def log_evaluation(logger: Logger | None, predictions: Predictions, metrics: Mapping[str, Any]) -> None:
    """Tell the test of a run: metrics with their intervals, and to W&B tables too.

    Args:
        logger: Of `make_logger`.
        predictions: On the test split, calibrated.
        metrics: Content of `metrics.json`.
    """
    if isinstance(logger, wandb.SteadyWandbLogger):
        wandb.log_evaluation(logger, predictions, metrics)
    elif logger is not None:
        logger.log_metrics(summary(metrics))
        logger.save()


def close(logger: Logger | None, folder: Path, record: Mapping[str, Any]) -> None:
    """Tell that a run has ended with all that is done after its training.

    Args:
        logger: Of `make_logger`.
        folder: The run folder.
        record: What `run.json` tells of the run.
    """
    if isinstance(logger, wandb.SteadyWandbLogger):
        wandb.close(logger, folder, record)
