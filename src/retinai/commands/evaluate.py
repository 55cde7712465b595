"""`retinai evaluate`: measure a checkpoint, or text prompts, on a split of any data set with the same task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError
from retinai.log import logger
from retinai.output_folders import check_folder, check_new

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.data.datamodule import FundusDataModule
    from retinai.modules.grading import GradingModule
    from retinai.prediction.predictions import Predictions
    from retinai.quality import Quality
    from retinai.reports.parts import ReportPart

RECORD = "evaluation.json"
# What of it W&B gets.
_TOLD = ("data", "split", "model", "backbone", "trained_on", "decision_rule", "data_fingerprint", "version")


def run(cfg: DictConfig) -> None:
    """Predict a split with a checkpoint or by text prompts, write metrics, figures and report, print the table.

    Args:
        cfg: The composed configuration of `conf/evaluate.yaml`, already checked.
    """
    from retinai.run.results import named_folder
    from retinai.zero_shot.evaluation import check_choice

    if cfg.ckpt is None and (cfg.views is not None or cfg.dropout_samples):
        raise UserError("views= and dropout_samples= ask a checkpoint several times; leave them out with prompts=")
    check_choice(cfg)
    if cfg.run_dir is None:
        check_folder(_home(cfg) / "evaluation", "run_dir")
        _evaluate(cfg, None)
        return
    with named_folder(lambda: _check_folder(cfg), "retinai evaluate") as folder:
        _evaluate(cfg, folder)


def _evaluate(cfg: DictConfig, folder: Path | None) -> None:
    """Predict a split and write the results, without a folder into one that is named after them."""
    from retinai.ensembles.opening import check_part
    from retinai.prediction.calibration.label_thresholds import labels_from
    from retinai.prediction.patients import check_pooling
    from retinai.prediction.splits import predict_split
    from retinai.run.checkpoint_data import overlap_notes
    from retinai.run.console import print_notes
    from retinai.run.results import held_or_new

    module, datamodule, notes = _of_prompts(cfg) if cfg.ckpt is None else _of_checkpoint(cfg)
    thresholds = _thresholds(cfg, module)
    if cfg.label_shift:
        _check_label_shift(cfg, module)
    if cfg.level == "patient":
        check_pooling(str(cfg.pooling), module.task)
    check_part(module, datamodule, str(cfg.split))
    notes = [*notes, *overlap_notes(module, datamodule, str(cfg.split)), *_of_weights(module, str(datamodule.name))]
    print_notes([*datamodule.notes, *notes])
    predictions = predict_split(module, datamodule, str(cfg.split), accelerator=str(cfg.accelerator))
    if thresholds is not None:
        predictions = replace(predictions, decided=labels_from(predictions.probabilities, thresholds))
    qualities = None
    if cfg.quality:
        predictions, qualities = _judged(cfg, predictions)
    default = _default_folder(cfg, str(datamodule.name))
    with held_or_new(folder, default, "retinai evaluate") as place:
        parts = _parts(place, cfg, module, predictions, qualities)
        _write(place, cfg, module, datamodule, predictions, parts, [*datamodule.notes, *notes])
    logger.info(f"run folder: {place}")


def _of_checkpoint(cfg: DictConfig) -> tuple[GradingModule, FundusDataModule, list[str]]:
    """Return a checkpoint's module, the data, set up, and sentences about them."""
    from retinai.ensembles.calibration import calibrate_ensemble
    from retinai.ensembles.module import EnsembleGrader
    from retinai.ensembles.opening import check_part, checkpoint_paths, ensemble_notes, open_grader_for_data
    from retinai.ensembles.passes import Passes
    from retinai.run.checkpoint_data import open_data

    module = open_grader_for_data(cfg.ckpt, None if cfg.get("data") is None else str(cfg.data.name), Passes.of(cfg))
    if cfg.grading is not None:
        module.set_prediction_option("grading", str(cfg.grading))
    if not isinstance(module, EnsembleGrader):
        _thresholds(cfg, module)  # refused before any data is read
    datamodule, notes = open_data(cfg, module, checkpoint_paths(cfg.ckpt)[0])
    datamodule.setup()
    check_part(module, datamodule, str(cfg.split))
    return module, datamodule, [*notes, *ensemble_notes(module, cfg.ckpt), *calibrate_ensemble(module, cfg)]


def _of_prompts(cfg: DictConfig) -> tuple[GradingModule, FundusDataModule, list[str]]:
    """Return a grader by text prompts, the data, set up, and sentences about them."""
    from retinai.zero_shot.evaluation import open_zero_shot

    module, datamodule = open_zero_shot(cfg)
    if cfg.grading is not None:
        module.set_prediction_option("grading", str(cfg.grading))
    return module, datamodule, ["graded by text prompts, without any training: the probabilities are not calibrated"]


def _of_weights(module: GradingModule, data: str) -> list[str]:
    from retinai.encoders.registry import weight_notes
    from retinai.ensembles.opening import members_of

    told = (weight_notes(member.hparams.get("backbone") or {}, data) for member in members_of(module))
    return list(dict.fromkeys(note for notes in told for note in notes))


def _thresholds(cfg: DictConfig, module: GradingModule) -> Any:
    """Return the thresholds per label that are asked for; None decides by the module's rule."""
    from retinai.prediction.calibration.label_thresholds import stored_thresholds

    if cfg.thresholds == "half":
        return None
    return stored_thresholds(module.calibration, module.task.classes, module.decision_rule)


def _check_label_shift(cfg: DictConfig, module: GradingModule) -> None:
    """Refuse networks whose probabilities do not stand for the class shares of their training."""
    from retinai.ensembles.opening import members_of
    from retinai.reports.label_shift import check_label_shift

    if cfg.ckpt is None:
        raise UserError("label_shift=true compares with the training, and text prompts have none; leave it out")
    check_label_shift(module.task, module.class_counts)
    for member in members_of(module):
        sampler = (member.data_config or {}).get("sampler") or {}
        weighted = (sampler if isinstance(sampler, str) else sampler.get("name")) == "weighted"
        if weighted or member.criterion.balances_classes:
            raise UserError(
                "label_shift=true needs a training that weighed no class more than another, and this one had "
                f"{'sampler=weighted' if weighted else 'a loss that balances classes'}; leave it out"
            )


def _check_folder(cfg: DictConfig) -> Path:
    """Return the folder of `run_dir=`; refuse one that cannot be written or holds results."""
    folder = check_folder(cfg.run_dir, "run_dir")
    if (folder / "run.json").exists():
        raise UserError(f"{folder} holds a training run, whose test results would be lost; choose another run_dir=")
    return check_new(folder, "run_dir", (RECORD, "predictions.csv", "metrics.json", "report.html"), cfg.overwrite)


def _home(cfg: DictConfig) -> Path:
    """Return the run folder of the checkpoint, or the folder of results of several or by these prompts."""
    from retinai.zero_shot.evaluation import place_of

    if cfg.ckpt is None:
        return place_of(cfg)
    folders = _run_folders(cfg)
    return folders[0] if len(folders) == 1 else Path(str(cfg.paths.outputs)) / "ensembles"


def _run_folders(cfg: DictConfig) -> list[Path]:
    from retinai.ensembles.opening import checkpoint_paths
    from retinai.run.checkpoint_data import run_folder_of

    return [run_folder_of(path) for path in checkpoint_paths(cfg.ckpt)]


def _default_folder(cfg: DictConfig, data: str) -> Path:
    return _home(cfg) / "evaluation" / f"{data}_{cfg.split}_{datetime.now():%Y-%m-%d_%H-%M-%S}"


def _write(
    folder: Path,
    cfg: DictConfig,
    module: GradingModule,
    datamodule: FundusDataModule,
    predictions: Predictions,
    parts: Sequence[ReportPart],
    notes: list[str],
) -> None:
    """Write the evaluation, or for unlabelled photographs the predictions alone, and print the table."""
    from retinai.files import write_csv, write_json
    from retinai.reports.run_report import write_evaluation
    from retinai.run.console import print_calibration, print_metrics, print_parts

    details = _details(cfg, module, datamodule) | {"notes": notes}
    write_json(folder / RECORD, details)
    if predictions.targets is None:
        write_csv(folder / "predictions.csv", predictions.calibrated(module.calibration).to_frame())
        logger.info(f"{len(predictions)} photographs predicted; they have no labels, so nothing was measured")
        return
    title = f"{details['backbone']} on {datamodule.name}, {cfg.split} split"
    metrics = write_evaluation(
        folder,
        predictions,
        title=title,
        details=details,
        preprocessing=module.preprocessing,
        calibration=module.calibration,
        parts=parts,
    )
    print_metrics(metrics, predictions.task, cfg.split)
    print_calibration(metrics)
    print_parts(parts)
    _track(folder, cfg, details, predictions.calibrated(module.calibration), metrics)


def _judged(cfg: DictConfig, predictions: Predictions) -> tuple[Predictions, list[Quality | None]]:
    """Return the predictions with the columns of quality, and the verdicts."""
    from retinai.quality.files import VerdictStore, count_verdicts
    from retinai.reports.quality import with_quality_columns

    workers = "auto" if cfg.num_workers is None else cfg.num_workers
    qualities = VerdictStore(str(cfg.paths.cache), workers).qualities(predictions.paths)
    logger.info(f"quality: {count_verdicts(qualities)}")
    return with_quality_columns(predictions, qualities), qualities


def _parts(
    folder: Path,
    cfg: DictConfig,
    module: GradingModule,
    predictions: Predictions,
    qualities: Sequence[Quality | None] | None,
) -> list[ReportPart]:
    """Return what is told beside metrics of the task; nothing of photographs without labels."""
    from retinai.reports.label_shift import label_shift_part
    from retinai.reports.quality import quality_part

    if predictions.targets is None:
        return []
    parts = list(module.report_parts(predictions))
    if cfg.label_shift:
        parts.append(label_shift_part(predictions.calibrated(module.calibration), module.class_counts))
    if cfg.level == "patient":
        parts.append(_patients(folder, cfg, predictions.calibrated(module.calibration)))
    return parts if qualities is None else [*parts, quality_part(predictions, qualities)]


def _track(
    folder: Path, cfg: DictConfig, details: dict[str, Any], predictions: Predictions, metrics: dict[str, Any]
) -> None:
    """Tell W&B, in the group of the run that was measured."""
    from retinai.ensembles.opening import checkpoint_paths
    from retinai.run.factories import plain
    from retinai.tracking.lineage import Item, checkpoint_item, data_item
    from retinai.tracking.measurement import Measurement, tell

    def measured() -> Measurement:
        from retinai.tracking import wandb_tables as tables

        facts = {key: details[key] for key in _TOLD}
        numbers = tables.summary(metrics)
        checkpoints = [] if cfg.ckpt is None else [checkpoint_item(path) for path in checkpoint_paths(cfg.ckpt)]
        digests = "-".join(item.content["sha256"][:8] for item in checkpoints[:3])
        what = digests or f"{details['backbone']}-{details['prompts']}"
        name = f"evaluation-{what}-{details['data_fingerprint'][:8]}-{cfg.split}"
        return Measurement(
            "evaluate",
            folder,
            facts,
            numbers,
            lambda options: tables.of_evaluation(predictions, metrics, options),
            taken=[data_item(str(details["data"]), str(details["data_fingerprint"])), *checkpoints],
            given=[Item("evaluation", name, facts | numbers)],
        )

    tell(plain(cfg.logger), measured, [_home(cfg)] if cfg.ckpt is None else _run_folders(cfg))


def _patients(folder: Path, cfg: DictConfig, predictions: Predictions) -> ReportPart:
    """Write `patients.csv` and return what an evaluation tells of patients."""
    from retinai.files import write_csv
    from retinai.reports.patients import patients_part

    part, pooled = patients_part(predictions, str(cfg.pooling))
    write_csv(folder / "patients.csv", pooled.to_frame())
    return part


def _named(cfg: DictConfig) -> str | list[str] | None:
    """Return the file of the checkpoint, or those of several."""
    from retinai.ensembles.opening import checkpoint_paths

    paths = [] if cfg.ckpt is None else [str(path) for path in checkpoint_paths(cfg.ckpt)]
    return paths if len(paths) > 1 else next(iter(paths), None)


def _details(cfg: DictConfig, module: GradingModule, datamodule: FundusDataModule) -> dict[str, Any]:
    from retinai import __version__
    from retinai.run.record_writer import git_revision, package_versions

    return {
        "data": datamodule.name,
        "split": str(cfg.split),
        "model": module.model_name,
        "backbone": module.backbone_name,
        "trained_on": (module.data_config or {}).get("name"),
        "checkpoint": _named(cfg),
        "prompts": None if cfg.ckpt is not None else str(cfg.prompts.name),
        "preprocessing": module.preprocessing.to_dict(),
        "decision_rule": module.decision_rule,
        "views": cfg.views,
        "dropout_samples": int(cfg.dropout_samples),
        "dropout_seed": int(cfg.dropout_seed),
        "thresholds": (module.calibration or {}).get("thresholds") if cfg.thresholds == "validation" else None,
        "data_fingerprint": datamodule.fingerprint,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": __version__,
        "versions": package_versions(),
        "git_revision": git_revision(),
    }
