"""`retinai probe`: what embeddings know of a data set's labels, by small models fitted on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import ConfigError, DataError, UserError
from retinai.log import logger, note
from retinai.output_folders import check_folder, check_new

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.data.datamodule import FundusDataModule
    from retinai.embeddings.estimators import ProbeSettings
    from retinai.embeddings.files import Embeddings
    from retinai.embeddings.probe import Job, Outcome


def run(cfg: DictConfig) -> None:
    """Fit probes, measure them on the test part, compare the files, write and print the tables.

    Args:
        cfg: The composed configuration of `conf/probe.yaml`, already checked.

    Raises:
        UserError: If files, labels or the folder cannot be used.
    """
    from retinai.data.photographs.preprocessing import Preprocessing
    from retinai.embeddings.estimators import ProbeSettings
    from retinai.embeddings.files import read_embeddings
    from retinai.embeddings.labelled import check_photographs
    from retinai.embeddings.probe import Shots, run_probes
    from retinai.embeddings.results import write_results
    from retinai.run.console import print_notes
    from retinai.run.factories import make_datamodule
    from retinai.run.results import results_folder

    if cfg.get("data") is None:
        raise ConfigError(["give data=, the data set whose photographs were embedded"])
    folder = _folder(cfg)
    files = [read_embeddings(file) for file in _several(cfg.embeddings)]
    datamodule = make_datamodule(cfg, Preprocessing.from_dict(dict(files[0].info["preprocessing"])))
    datamodule.setup()
    notes = [*datamodule.notes, *(sentence for file in files for sentence in _of_weights(file, str(datamodule.name)))]
    print_notes(dict.fromkeys(notes))
    for file in files:
        check_photographs(file, datamodule)
    jobs = _jobs(_several(cfg.target), datamodule)
    settings = ProbeSettings(str(cfg.method), bool(cfg.smote), int(cfg.seed))
    shots = Shots([float(percent) for percent in _several(cfg.shots)], int(cfg.draws))
    outcomes = run_probes(jobs, files, settings, shots)
    details = {
        "data": datamodule.name,
        "split": "test",
        "embeddings": {file.name: dict(file.info) for file in files},
        "method": settings.method,
        "smote": settings.smote,
        "data_fingerprint": datamodule.fingerprint,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "notes": list(dict.fromkeys(notes)),
    }
    with results_folder(folder, "retinai probe", unique=cfg.run_dir is None) as folder:
        metrics = write_results(folder, outcomes, files, details, int(cfg.resamples), int(cfg.seed))
        _print(metrics)
        if cfg.label_issues:
            _list_label_issues(folder, outcomes, files, settings)
    _track(folder, cfg, details, metrics)
    logger.info(f"run folder: {folder}")


def _track(folder: Path, cfg: DictConfig, details: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Tell W&B, in the group of the first run whose encoder made the embeddings; others have no group."""
    from retinai.run.checkpoint_data import run_folder_of
    from retinai.run.factories import plain
    from retinai.tracking.lineage import checkpoint_item, data_item
    from retinai.tracking.measurement import Measurement, tell
    from retinai.tracking.wandb_tables import summary

    made_by = [Path(info["checkpoint"]) for info in details["embeddings"].values() if info.get("checkpoint")]

    def measured() -> Measurement:
        numbers = {
            f"probe/{target}/{name}/{key.removeprefix('test/')}": value
            for target, by_file in metrics.items()
            for name, found in by_file.items()
            for key, value in summary(found).items()
        }
        facts = {key: details[key] for key in ("data", "split", "method", "smote")}
        checkpoints = [checkpoint_item(path) for path in made_by if path.exists()]
        data = data_item(str(details["data"]), str(details["data_fingerprint"]))
        return Measurement("probe", folder, facts, numbers, taken=[data, *checkpoints])

    tell(plain(cfg.logger), measured, [run_folder_of(path) for path in made_by])


def _of_weights(file: Embeddings, data: str) -> list[str]:
    from retinai.encoders.registry import weight_notes

    return weight_notes({"name": file.info.get("backbone"), "weights": file.info.get("weights", "none")}, data)


def _folder(cfg: DictConfig) -> Path:
    from retinai.embeddings.results import RECORD

    if cfg.run_dir is None:
        check_folder(cfg.paths.outputs, "paths.outputs")
        return Path(cfg.paths.outputs) / str(cfg.data.name) / "probe" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    if (Path(cfg.run_dir) / "run.json").exists():
        raise UserError(f"{cfg.run_dir} holds a training run; choose another run_dir=")
    return check_new(
        Path(cfg.run_dir).expanduser(), "run_dir", (RECORD, "metrics.json", "predictions.csv"), cfg.overwrite
    )


def _several(value: Any) -> list[Any]:
    """Return one value or a list of them as a list; None as none."""
    from omegaconf import ListConfig

    if value is None:
        return []
    return list(value) if isinstance(value, list | ListConfig) else [value]


def _jobs(names: list[Any], datamodule: FundusDataModule) -> list[Job]:
    """Return the targets with their parts; of `all` those that cannot be probed are told and left out."""
    from retinai.embeddings.labelled import make_parts
    from retinai.embeddings.probe import Job
    from retinai.embeddings.targets import ALL, find_targets

    jobs: list[Job] = []
    reason: DataError | None = None
    for target in find_targets(map(str, names), datamodule):
        try:
            jobs.append(Job(target, *make_parts(target, datamodule.table)))
        except DataError as error:
            if ALL not in names:
                raise
            note(f"left out: {error}")
            reason = error
    if not jobs:
        raise reason or DataError("there is nothing to probe")
    return jobs


def _list_label_issues(
    folder: Path, outcomes: Sequence[Outcome], files: Sequence[Embeddings], settings: ProbeSettings
) -> None:
    """Write `label_issues.csv` beside the metrics of each probe of classes."""
    from retinai.embeddings.label_issues import label_issues
    from retinai.embeddings.results import folder_of
    from retinai.files import write_csv

    for outcome in outcomes:
        job = outcome.job
        if not job.target.task.has_probabilities:
            continue
        file = next(file for file in files if file.name == outcome.embeddings)
        own = folder_of(outcome, outcomes, folder)
        found = label_issues(job, file, settings)
        write_csv(own / "label_issues.csv", found)
        total = len(job.training.ids) + len(job.test.ids)
        logger.info(f"{job.target.name}, {file.name}: {len(found)} of {total} labels are suspicious (label_issues.csv)")


def _print(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from retinai.reports.wording import with_interval

    names = list(next(iter(metrics.values())))
    table = Table(
        title="AUROC (numbers: R2) on the test part, 95 % intervals", title_justify="left", box=box.SIMPLE_HEAD
    )
    table.add_column("target")
    for name in names:
        table.add_column(name, justify="right")
    for target, by_file in metrics.items():
        cells = [with_interval(by_file[name]["r2" if "r2" in by_file[name] else "auroc"], 3) for name in names]
        table.add_row(target, *cells)
    Console().print(table)
