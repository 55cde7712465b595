"""`retinai predict`: grade photographs into a CSV file, a row per file, unreadable ones too."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError
from retinai.log import logger
from retinai.output_folders import check_file

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from retinai.prediction.photographs import Photographs
    from retinai.tasks.task import Task


def run(cfg: DictConfig) -> None:
    """Predict photographs and write the table.

    Args:
        cfg: The composed configuration of `conf/predict.yaml`, already checked.

    Raises:
        UserError: If not exactly one of `ckpt` and `model` is given, or an option makes no sense.
    """
    from retinai.csv_cells import to_cell
    from retinai.files import write_csv
    from retinai.prediction.layouts import write_layout
    from retinai.prediction.photographs import find_photographs

    if (cfg.ckpt is None) == (cfg.model.folder is None):
        raise UserError("give either ckpt= (a checkpoint) or model= (a folder of `retinai export`)")
    _check_answers(cfg)
    if cfg.engine == "ray":
        return run_on_ray(cfg)
    out = _check_out(cfg.out, cfg.overwrite)
    options = _options(cfg)
    photographs = find_photographs(str(cfg.images))
    grade = _with_checkpoint if cfg.model.folder is None else _with_folder
    table, task, layout = grade(cfg, photographs, options)
    if cfg.quality:
        add_quality(table, photographs.paths, cfg.num_workers)
    written = write_layout(layout, table, task, photographs)
    write_csv(out, written)
    bad = table[table["error"] != ""]
    logger.info(f"{len(table)} photographs, {len(bad)} could not be read; written as {layout}: {out}")
    for row in bad.head(10).itertuples():
        logger.info(f"  {to_cell(str(row.path))}: {row.error}")
    if layout == "course" and len(written) < len(table):
        logger.info(f"  {len(table) - len(written)} are not on the course's list, so they are not in the file")
    if len(bad) and layout != "retinai":
        logger.info(f"  a {layout} file has no column for reasons: their cells are empty; format=retinai tells all")


def _check_answers(cfg: DictConfig) -> None:
    """Refuse words about several answers where there is one."""
    asked = cfg.views is not None or cfg.dropout_samples > 0
    if asked and cfg.ckpt is None:
        raise UserError("views= and dropout_samples= ask a checkpoint several times; leave them out with model=FOLDER")
    if cfg.get("data") is not None and not asked and (cfg.ckpt is None or isinstance(cfg.ckpt, str)):
        raise UserError(
            "data= says where the photographs of the training are, for ckpt=[A,B], views= or dropout_samples=; leave "
            "it out, or measure a checkpoint on a data set with retinai evaluate"
        )


def run_on_ray(cfg: DictConfig) -> None:
    """Grade the photographs of any address into Parquet files, see `retinai.batch_inference`.

    Args:
        cfg: The composed configuration, with `model` and `engine=ray`.

    Raises:
        UserError: If an address cannot be used, or the folder of `out` holds another job.
    """
    from retinai.batch_inference.engine import Workers, grade_all
    from retinai.batch_inference.job import open_job
    from retinai.runtime import ExportedModel

    model = str(cfg.model.folder)
    ExportedModel(model)  # what is wrong with it is told before anything is begun
    job = open_job(model, str(cfg.images), str(cfg.out), int(cfg.part_size), bool(cfg.overwrite))
    workers = Workers(
        count=None if cfg.num_workers == "auto" else max(1, int(cfg.num_workers)),
        threads=cfg.threads or 1,
        batch_size=int(cfg.batch_size),
        attempts=int(cfg.attempts),
        address=cfg.ray_address,
    )
    done = grade_all(job, workers)
    logger.info(f"{done['photographs']} photographs, {done['bad']} could not be read, {done['parts']} files: {job.out}")
    if done["graded"]:
        logger.info(
            f"graded now: {done['graded']} in {done['seconds']:.0f} s, {done['photographs_per_second']:.1f} a second, "
            f"{done['cpu_seconds_per_million']:,.0f} processor seconds per million, {done['megabytes']:.0f} MB a worker"
        )
    else:
        logger.info("all of them were graded before")


def add_quality(table: pd.DataFrame, paths: list[str], workers: int | str) -> None:
    """Add the columns `quality` and `quality_reason`, missing where a file could not be read, and tell the counts."""
    from retinai.quality.files import count_verdicts, judge_files

    found = judge_files(paths, workers, "judging quality")
    place = list(table.columns).index("error")
    table.insert(place, "quality", [quality and quality.verdict for quality in found])
    table.insert(place + 1, "quality_reason", [quality and (quality.reason or None) for quality in found])
    logger.info(f"quality: {count_verdicts(found)}")


def _with_checkpoint(
    cfg: DictConfig, photographs: Photographs, options: dict[str, Any]
) -> tuple[pd.DataFrame, Task, str]:
    from retinai.ensembles.calibration import calibrate_ensemble
    from retinai.ensembles.opening import ensemble_notes, open_grader
    from retinai.ensembles.passes import Passes
    from retinai.prediction.files import predict_files
    from retinai.prediction.layouts import choose_layout
    from retinai.run.console import print_notes

    module = open_grader(cfg.ckpt, Passes.of(cfg))
    layout = choose_layout(str(cfg.format), module.task, photographs)
    print_notes([*ensemble_notes(module, cfg.ckpt), *calibrate_ensemble(module, cfg)])
    thresholds = _thresholds(cfg, module)
    table = predict_files(module, photographs, **options, accelerator=str(cfg.accelerator), thresholds=thresholds)
    return table, module.task, layout


def _with_folder(cfg: DictConfig, photographs: Photographs, options: dict[str, Any]) -> tuple[pd.DataFrame, Task, str]:
    from retinai.prediction.layouts import choose_layout
    from retinai.runtime import ExportedModel
    from retinai.runtime.cpu import CpuWarning

    if cfg.accelerator not in ("auto", "cpu"):
        raise UserError(f"accelerator={cfg.accelerator}: a folder of `retinai export` runs on the CPU")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CpuWarning)  # told below, in the manner of a command
        grader = ExportedModel(str(cfg.model.folder), threads=cfg.threads)
    for note in grader.notes:
        logger.warning(note)
    layout = choose_layout(str(cfg.format), grader.task, photographs)
    batch_size, workers = options["batch_size"], options["num_workers"]
    table = grader.predict_photographs(
        photographs, batch_size=batch_size, workers=workers, progress=True, thresholds=_thresholds(cfg, grader)
    )
    return table, grader.task, layout


def _thresholds(cfg: DictConfig, model: Any) -> Any:
    """Return the thresholds per label that are asked for; None decides by the model's rule."""
    from retinai.prediction.calibration.label_thresholds import stored_thresholds

    if cfg.thresholds == "half":
        return None
    return stored_thresholds(model.calibration, model.task.classes, model.decision_rule)


def _check_out(out: Any, overwrite: bool) -> Path:
    path = Path(str(out))
    if path.suffix.lower() != ".csv":
        raise UserError(f"out={path} must be a .csv file")
    return check_file(path, "out", overwrite)


def _options(cfg: DictConfig) -> dict[str, Any]:
    return {"batch_size": cfg.batch_size, "num_workers": cfg.num_workers}
