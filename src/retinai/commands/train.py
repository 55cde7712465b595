"""One training run, top to bottom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retinai.log import is_first_process, logger

if TYPE_CHECKING:
    from pathlib import Path

    import lightning
    from omegaconf import DictConfig

    from retinai.data.datamodule import FundusDataModule
    from retinai.modules.base import BaseModule
    from retinai.modules.stages import StageContext


def run(cfg: DictConfig) -> float | None:
    """Train, then do what this kind of module does after its training; print the run folder.

    Args:
        cfg: The composed configuration of `conf/train.yaml`, already checked.

    Returns:
        The best value of the monitored validation metric, which a Hydra sweeper can optimise.
    """
    from retinai.callbacks import make_callbacks
    from retinai.config.hydra_launch import launched_with
    from retinai.config.model_sections import as_written, unused_words
    from retinai.encoders.registry import weight_notes
    from retinai.modules.stages import run_stages
    from retinai.run import factories
    from retinai.run import folder as run_folder
    from retinai.run.console import print_notes
    from retinai.run.record_writer import recording
    from retinai.run.resume_config import say_how_to_resume
    from retinai.run.start_checkpoint import start_checkpoint
    from retinai.tracking.loggers import close
    from retinai.tracking.wandb import sharing_notes

    factories.check_machine(cfg)
    folder = run_folder.choose_run_folder(cfg)
    start = start_checkpoint(cfg, folder)
    datamodule = factories.make_datamodule(cfg)
    datamodule.setup()
    factories.module_class(cfg).check_data(datamodule)
    if cfg.resume:
        run_folder.check_same_data(folder, datamodule)
    factories.check_batches(cfg, datamodule)
    module = factories.make_module(cfg, datamodule)
    module.describe_data(factories.plain(cfg.data), cfg.model.name, datamodule.known_split().to_dict())
    stages = [stage for stage in module.stages() if stage.wanted(as_written(cfg))]
    for split in dict.fromkeys(split for stage in stages for split in stage.splits):
        datamodule.split_table(split)  # a part without photographs is told before the training, not after it
    told = module.prepare_training(datamodule)
    datamodule.use_fields(module.fields())
    notes = [
        *datamodule.notes,
        *unused_words(cfg, launched_with()[0]),
        *told,
        *weight_notes(factories.plain(cfg.backbone), str(cfg.data.name)),
        *(_start_from(start, module, cfg) if start else []),
        *sharing_notes(factories.plain(cfg.logger)),
    ]

    make_callbacks(factories.plain(cfg.callbacks), folder, module.monitor, module.mode)  # bad ones are refused here
    with run_folder.open_run_folder(folder, cfg) as folder, say_how_to_resume(folder):
        if is_first_process():
            datamodule.write_splits(folder / "split.csv")
        with recording(folder, **_facts(cfg, datamodule, module)) as record:
            print_notes(notes)
            trainer = _fit(cfg, folder, module, datamodule)
            record.update(_outcome(trainer))
            if trainer.is_global_zero:
                context = _context(cfg, folder, module, datamodule, trainer, notes, record)
                record.update(run_stages(stages, context))
                close(trainer.logger, folder, context.record)
        logger.info(f"run folder: {folder}")
    return record.get("best_score")


def _start_from(path: Path, module: BaseModule, cfg: DictConfig) -> list[str]:
    """Load start weights; return where they came from."""
    from retinai.modules.odir_course_weights import load_course_weights
    from retinai.modules.warm_start import load_start_weights

    return load_course_weights(path, module) if cfg.init.get("layout") == "course" else load_start_weights(path, module)


def _fit(cfg: DictConfig, folder: Path, module: BaseModule, datamodule: FundusDataModule) -> lightning.Trainer:
    """Train; return the trainer."""
    from retinai.callbacks import make_callbacks
    from retinai.callbacks.checkpoints import keep_untrained
    from retinai.config.model_sections import as_written
    from retinai.run import factories
    from retinai.run.console import print_start
    from retinai.run.refusals import library_refusals_told
    from retinai.run.resume_state import Restoring
    from retinai.tracking.loggers import make_logger

    logger = make_logger(factories.plain(cfg.logger), folder, as_written(cfg))
    callbacks = make_callbacks(factories.plain(cfg.callbacks), folder, module.monitor, module.mode)
    last = _last_checkpoint(folder, cfg)
    restoring = Restoring(last)
    with library_refusals_told(callbacks):
        trainer = factories.make_trainer(cfg, folder, [restoring, *callbacks], logger)
    print_start(module, datamodule, trainer, folder)
    if trainer.max_epochs == 0:
        keep_untrained(trainer, module, folder)
        return trainer
    with library_refusals_told(callbacks), restoring.explained():
        trainer.fit(module, datamodule=datamodule, ckpt_path=last, weights_only=True)
    return trainer


def _context(
    cfg: DictConfig,
    folder: Path,
    module: BaseModule,
    datamodule: FundusDataModule,
    trainer: lightning.Trainer,
    notes: list[str],
    record: dict[str, Any],
) -> StageContext:
    """Return what the stages after the training work with."""
    from retinai.config.model_sections import as_written
    from retinai.modules.load import load_any_module
    from retinai.modules.stages import StageContext
    from retinai.run.console import print_evaluation, print_notes
    from retinai.run.run_records import read_record

    began = {k: v for k, v in read_record(folder).items() if k not in ("status", "metrics")}
    return StageContext(
        folder=folder,
        datamodule=datamodule,
        module=module,
        load_best=lambda: load_any_module(folder / "checkpoints" / "best.ckpt"),
        trainer=trainer,
        record=began | record,
        notes=notes,
        options=as_written(cfg),
        say=print_notes,
        show=print_evaluation,
    )


def _facts(cfg: DictConfig, datamodule: FundusDataModule, module: BaseModule) -> dict[str, Any]:
    """Return what `run.json` tells of a run from its start."""
    from retinai.config.model_sections import taken
    from retinai.run.folder import count_splits

    names = {group: (cfg.get(group) or {}).get("name") for _, group in taken(cfg)}
    return {
        "data": cfg.data.name,
        "model": cfg.model.name,
        "backbone": cfg.backbone.name,
        **{group: None if name == "none" else name for group, name in names.items() if name is not None},
        **module.facts(),
        "phase": cfg.phase,
        "seed": cfg.seed,
        "folds": cfg.data.get("folds"),
        "fold": cfg.data.get("fold") if cfg.data.get("folds") else None,
        "task": datamodule.task.name,
        "monitor": module.monitor,
        "mode": module.mode,
        "data_fingerprint": datamodule.fingerprint,
        "counts": count_splits(datamodule),
    }


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
