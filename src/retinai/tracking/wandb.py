"""What a training run tells Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from retinai.log import logger
from retinai.tracking.wandb_connection import (
    Guard,
    Job,
    begin,
    checked,
    first_line,
    group_of,
    log,
    name_of,
    run_id,
    wanted_mode,
)

if TYPE_CHECKING:
    import wandb

    from retinai.prediction.predictions import Predictions


class SteadyWandbLogger(WandbLogger):
    """Lightning's W&B logger that stops logging, with one line, when W&B fails; the run goes on.

    Args:
        run: The W&B run, begun.
        options: The `logger` section.
        folder: The run folder.
    """

    def __init__(self, run: wandb.Run, options: Mapping[str, Any], folder: Path) -> None:
        super().__init__(experiment=run, project=options["project"], save_dir=str(folder), id=run.id)
        self.options = dict(options)
        self.guarded = Guard("the run goes on, metrics.csv has every number")
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)

    @property
    def failed(self) -> bool:
        """Whether logging has stopped."""
        return self.guarded.failed

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the whole configuration is logged when the run begins."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics at an optimiser step, which is W&B's own step, too, so that a resumed run goes on behind it."""
        values = {**metrics, "trainer/global_step": step} if step is not None else dict(metrics)
        self.guarded(lambda: self.experiment.log(values, step=step))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Do nothing at the end of training: the test is logged to the same run, which then ends."""


def make_logger(node: Mapping[str, Any], run_folder: str | Path, config: Mapping[str, Any]) -> SteadyWandbLogger | None:
    """Begin the W&B run of a training run, or go on with it.

    The mode is that of WANDB_MODE if set; else online if a key is configured (WANDB_API_KEY, `wandb login`),
    else offline. A server that does not answer in time means offline, too. One line says what was chosen.

    Args:
        node: The `logger` section; `name` is `wandb` or `none`.
        run_folder: The run folder; the files of W&B go to `wandb/` below it.
        config: The whole configuration, plain.

    Returns:
        The logger, or None for `none`, for WANDB_MODE=disabled, and on all processes but the first.

    Raises:
        ConfigError: If the section has an unknown key, name or value.
    """
    options = checked(node)
    mode = wanted_mode()
    if options["name"] == "none" or mode == "disabled" or _rank() != 0:
        return None
    folder = Path(run_folder)
    try:
        group = group_of(options, config.get("sweep"), folder)
        run = begin(mode, options, folder, Job("train", run_id(folder), group, name_of(folder), config))
    except Exception as error:  # W&B must never stop a run
        logger.warning(f"wandb: not used ({first_line(error)}); metrics.csv has every number")
        return None
    return SteadyWandbLogger(run, options, folder)


def sharing_notes(node: Mapping[str, Any]) -> list[str]:
    """Return one sentence for the run's notes: what of patients W&B gets. None where W&B is not used.

    Args:
        node: The `logger` section.

    Raises:
        ConfigError: If the section has an unknown key or a wrong value.
    """
    if node.get("name") != "wandb" or wanted_mode() == "disabled":
        return []
    options = checked(node)
    given = {
        "photographs": f"thumbnails, ids and patients of up to {options['thumbnails']} test photographs",
        "checkpoints": "the best checkpoint",
    }
    sent = [what for key, what in given.items() if options[key]]
    kept = [what for key, what in given.items() if not options[key]]
    asked = " ".join(f"logger.{key}=true" for key in given if not options[key])
    said = f"W&B gets settings and metrics{''.join(f', {what}' for what in sent)}"
    return [said + (f"; not {' nor '.join(kept)} ({asked})" if kept else "")]


def log_evaluation(logger: SteadyWandbLogger | None, predictions: Predictions, metrics: Mapping[str, Any]) -> None:
    """Log the test of a run to W&B.

    Metrics with intervals go to the summary; confusion matrix and per-class table; only when asked for
    (`logger.photographs`) a table of predictions with thumbnails, the least certain of the truth first.

    Args:
        logger: What `make_logger` returned; None does nothing.
        predictions: Predictions on the test split.
        metrics: Content of `metrics.json`.
    """
    if logger is None:
        return
    from retinai.tracking import wandb_tables as tables

    run = logger.experiment
    logger.guarded(lambda: run.summary.update(tables.summary(metrics)))
    for shown in tables.of_evaluation(predictions, metrics, logger.options):
        logger.guarded(partial(log, run, shown))


def close(logger: SteadyWandbLogger, folder: Path, record: Mapping[str, Any]) -> None:
    """Log what the run was made from and what came of it, and end the W&B run.

    The data's fingerprint and the best checkpoint's SHA-256 are artifacts, so that W&B shows which evaluation came from
    which data; the checkpoint itself is one only when asked for (`logger.checkpoints`).

    Args:
        logger: What `make_logger` returned.
        folder: The run folder.
        record: What `run.json` tells of the run.
    """
    from retinai.tracking import wandb_tables as tables
    from retinai.tracking.lineage import checkpoint_item, data_item, give, take

    run, best = logger.experiment, folder / "checkpoints" / "best.ckpt"
    logger.guarded(lambda: take(run, data_item(str(record["data"]), str(record["data_fingerprint"]))))
    if best.exists():
        logger.guarded(lambda: give(run, checkpoint_item(best)))
        if logger.options["checkpoints"]:
            logger.guarded(lambda: run.log_artifact(tables.checkpoint(best, run.id)))
    logger.guarded(run.finish)


def _rank() -> int:
    return int(getattr(rank_zero_only, "rank", None) or 0)
