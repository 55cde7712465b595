"""One training run, top to bottom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retinai.log import is_first_process, logger

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from retinai.data.datamodule import FundusDataModule
    from retinai.modules.base import FundusModule
    from retinai.prediction.predictions import Predictions


def run(cfg: DictConfig) -> float | None:
    """Train, test the best checkpoint, report; print the test metrics and the run folder.

    Args:
        cfg: The composed configuration of `conf/train.yaml`, already checked.

    Returns:
        The best value of the monitored validation metric, which a Hydra sweeper can optimise.
    """
    from retinai.distillation.teacher import teacher_notes
    from retinai.modules.warm_start import load_start_weights, start_checkpoint
    from retinai.run import factories as assemble
    from retinai.run import folder as run_folder
    from retinai.run.console import print_notes
    from retinai.run.resuming import say_how_to_resume
    from retinai.tracking.wandb import sharing_notes

    assemble.check_machine(cfg)
    folder = run_folder.choose_run_folder(cfg)
    start = start_checkpoint(cfg, folder)
    teachers = assemble.find_teachers(cfg)
    datamodule = assemble.make_datamodule(cfg, teachers=teachers)
    datamodule.setup()
    datamodule.check_training()
    if cfg.resume:
        run_folder.check_same_data(folder, datamodule)
    for split in ("train", "val", *(["test"] if cfg.test else [])):
        datamodule.split_table(split)  # a part without photographs is told before the training, not after it
    assemble.check_batches(cfg, datamodule)
    module = assemble.make_module(cfg, datamodule, teachers)
    datamodule.use_fields(module.fields())
    module.describe_data(assemble.plain(cfg.data), cfg.model.name, datamodule.known_split().to_dict())
    notes = [
        *datamodule.notes,
        *teacher_notes(cfg, teachers, datamodule),
        *(load_start_weights(start, module) if start else []),
        *sharing_notes(assemble.plain(cfg.logger)),
    ]

    with run_folder.open_run_folder(folder, cfg) as folder, say_how_to_resume(folder):
        if is_first_process():
            datamodule.write_splits(folder / "split.csv")
        teacher = teachers and teachers.describe()
        with run_folder.recording(folder, **_facts(cfg, datamodule), teacher=teacher) as record:
            print_notes(notes)
            _fit_and_test(cfg, folder, module, datamodule, notes, record)
        logger.info(f"run folder: {folder}")
    return record.get("best_score")


def _fit_and_test(
    cfg: DictConfig,
    folder: Path,
    module: FundusModule,
    datamodule: FundusDataModule,
    notes: list[str],
    record: dict[str, Any],
) -> None:
    """Train, calibrate and test; what comes out goes into `record`."""
    from retinai.callbacks import make_callbacks
    from retinai.run import factories as assemble
    from retinai.run.console import print_start
    from retinai.run.restoring import restoring
    from retinai.tracking.wandb import make_logger

    logger = make_logger(assemble.plain(cfg.logger), folder, assemble.plain(cfg))
    callbacks = make_callbacks(assemble.plain(cfg.callbacks), datamodule.task, folder)
    trainer = assemble.make_trainer(cfg, folder, callbacks, logger)
    print_start(module, datamodule, trainer, folder)
    last = _last_checkpoint(folder, cfg)
    with restoring(trainer, last):
        trainer.fit(module, datamodule=datamodule, ckpt_path=last, weights_only=True)
    record.update(_outcome(trainer))
    if cfg.calibrate and trainer.is_global_zero:
        notes += _calibrate(folder, datamodule)
    if cfg.test and trainer.is_global_zero:
        record["metrics"] = _test(folder, datamodule, logger, record | {"notes": notes})


def _facts(cfg: DictConfig, datamodule: FundusDataModule) -> dict[str, Any]:
    """Return what `run.json` tells of a run from its start."""
    from retinai.run.folder import count_splits

    return {
        "data": cfg.data.name,
        "model": cfg.model.name,
        "backbone": cfg.backbone.name,
        "loss": cfg.loss.name,
        **{key: _chosen(cfg, key) for key in ("attention", "topology", "consistency")},
        "tuning": cfg.tuning.name,
        "phase": cfg.phase,
        "seed": cfg.seed,
        "folds": cfg.data.get("folds"),
        "fold": cfg.data.get("fold") if cfg.data.get("folds") else None,
        "task": datamodule.task.name,
        "monitor": datamodule.task.monitor,
        "data_fingerprint": datamodule.fingerprint,
        "counts": count_splits(datamodule),
    }


def _chosen(cfg: DictConfig, group: str) -> str | None:
    """Return the option of a group that is on; None where it is `none` or the group is not there."""
    name = (cfg.get(group) or {}).get("name")
    return None if name == "none" else name


def _last_checkpoint(folder: Path, cfg: DictConfig) -> str | None:
    """Return where a resumed run goes on; None starts at the first epoch."""
    last = folder / "checkpoints" / "last.ckpt"
    if not cfg.resume:
        return None
    if not last.exists():
        logger.info("resume: no checkpoint was written before the run stopped, so it starts at the first epoch")
        return None
    logger.info(f"resume: going on from {last}")
    return str(last)


def _outcome(trainer: Any) -> dict[str, Any]:
    best = next(c for c in trainer.checkpoint_callbacks if c.monitor)
    score = None if best.best_model_score is None else float(best.best_model_score)
    return {"epochs": int(trainer.current_epoch), "best_score": score}


def _calibrate(folder: Path, datamodule: FundusDataModule) -> list[str]:
    """Fit temperature and operating points on validation, write them into the best checkpoint; return notes.

    It depends on the checkpoint and the validation photographs only, so a run that was killed here does
    the same when it is resumed.
    """
    from retinai.modules.checkpoint import store_calibration
    from retinai.modules.load import load_module
    from retinai.prediction.calibration.fitting import NO_PROBABILITIES, fit_calibration
    from retinai.prediction.splits import predict_split
    from retinai.prediction.steps import Probabilities
    from retinai.run.console import print_notes

    path = folder / "checkpoints" / "best.ckpt"
    best = load_module(path, datamodule.task)
    if best.states_probabilities:
        calibration, notes = fit_calibration(predict_split(best, datamodule, "val", steps=[Probabilities()]))
    else:
        calibration, notes = None, [NO_PROBABILITIES]
    store_calibration(path, calibration)
    print_notes(notes)
    return notes


def _test(folder: Path, datamodule: FundusDataModule, logger: Any, record: dict[str, Any]) -> dict[str, Any]:
    """Predict the test split with the best checkpoint and write metrics, figures and report."""
    from retinai.modules.load import load_module
    from retinai.prediction.splits import predict_split
    from retinai.reports.run_report import write_evaluation
    from retinai.run.console import print_calibration, print_metrics, print_parts
    from retinai.run.records import read_record
    from retinai.tracking.wandb import log_evaluation

    best = load_module(folder / "checkpoints" / "best.ckpt", datamodule.task)
    predictions: Predictions = predict_split(best, datamodule, "test")
    details = {k: v for k, v in read_record(folder).items() if k not in ("status", "metrics")} | record
    parts = best.report_parts(predictions)
    metrics = write_evaluation(
        folder,
        predictions,
        title=f"{details['backbone']} on {details['data']}, test split",
        details=details,
        metrics_csv=folder / "metrics.csv",
        preprocessing=best.preprocessing,
        calibration=best.calibration,
        parts=parts,
    )
    log_evaluation(logger, predictions.calibrated(best.calibration), metrics, folder)
    print_metrics(metrics, predictions.task)
    print_calibration(metrics)
    print_parts(parts)
    return {
        key: value
        for key, value in metrics.items()
        if key == "calibration" or (isinstance(value, dict) and "value" in value)
    }
