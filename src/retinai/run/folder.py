"""The folder of one run: its place, its lock, its `config.yaml`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from retinai.config.hydra_launch import job_number
from retinai.config.model_sections import as_written
from retinai.errors import DataError, UserError
from retinai.files import read_text, write_text
from retinai.log import is_first_process
from retinai.output_folders import check_folder, make_unique, remove_leftovers
from retinai.run.lock import check_unlocked, locked
from retinai.run.run_records import RECORD, is_there, read_record

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule

# How the first process of a run tells its folder to the ones that Lightning starts beside it.
_SHARED_FOLDER = "RETINAI_RUN_FOLDER"
CONFIG = "config.yaml"
_SPLIT = "split.csv"
_RESULTS = (CONFIG, _SPLIT, "checkpoints", "metrics.csv", "metrics.json", "predictions.csv", "report.html")


def choose_run_folder(cfg: DictConfig) -> Path:
    """Return the folder that a training run will use; nothing is made yet.

    `run_dir=` is taken as it is (in a multirun with the job's number below it), else
    `<paths.outputs>/<data>/<model>/<backbone>/<time>`.

    Raises:
        UserError: If `run_dir` already holds a run and `resume` is not set, another process trains in it, or it
            cannot be written.
    """
    if not is_first_process():
        return _folder_of_first_process(cfg)
    if cfg.run_dir is None:
        base = Path(cfg.paths.outputs) / cfg.data.name / cfg.model.name / cfg.backbone.name
        check_folder(base, "paths.outputs")
        return base / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = check_folder(given_folder(cfg), "run_dir")
    check_unlocked(folder)
    _check_new(folder, cfg)
    return folder


def given_folder(cfg: DictConfig) -> Path:
    """Return the folder that `run_dir=` names; in a multirun the job's number comes below it."""
    return Path(str(cfg.run_dir)).expanduser() / job_number()


def _check_new(folder: Path, cfg: DictConfig) -> None:
    """Refuse a folder with a run, or with files of others that a run would replace."""
    if cfg.resume:
        return
    if is_there(folder / RECORD):
        raise UserError(f"{folder} already holds a run; add resume=true to go on with it, or choose another run_dir=")
    taken = [name for name in _RESULTS if is_there(folder / name)]
    begun = [CONFIG, _SPLIT] if _is_of_a_run(folder / CONFIG) else []
    if taken := [name for name in taken if name not in begun]:
        raise UserError(f"{folder} holds {', '.join(taken)}, which a run would replace; choose another run_dir=")


def _is_of_a_run(config: Path) -> bool:
    """Return whether a run that was killed before it wrote its record left this configuration, and maybe a split."""
    try:
        return {"run_dir:", "trainer:"} <= {line.split(" ")[0] for line in read_text(config).splitlines()}
    except UserError:
        return False


def _folder_of_first_process(cfg: DictConfig) -> Path:
    if _SHARED_FOLDER in os.environ:
        return Path(os.environ[_SHARED_FOLDER])
    if cfg.run_dir is None:
        raise UserError("several processes were started for one run; give run_dir=, so that they share a folder")
    return given_folder(cfg)


@contextmanager
def open_run_folder(folder: Path, cfg: DictConfig) -> Iterator[Path]:
    """Make the run folder, hold its lock, and write `config.yaml` into it; a chosen name that is taken gets a number.

    Two runs that start in the same second get different folders: the one that makes it owns it. A resumed run keeps
    the `config.yaml` that it began with.

    Args:
        folder: What `choose_run_folder` said.
        cfg: The composed configuration.

    Yields:
        The folder.

    Raises:
        UserError: If another process trains in the folder.
    """
    if not is_first_process():
        yield folder
        return
    if cfg.run_dir is None:
        folder = make_unique(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _check_new(folder, cfg)  # again: another run may have come and gone since the first look
        os.environ[_SHARED_FOLDER] = str(folder)
        for name in ("config", "run", "split", "metrics", "predictions", "report"):
            remove_leftovers(folder, name)
        if not (cfg.resume and (folder / RECORD).exists()):
            write_text(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(as_written(cfg))))
        yield folder


def check_same_data(folder: Path, datamodule: FundusDataModule) -> None:
    """Refuse to go on with other photographs, labels or parts than a run began with, before anything is overwritten.

    Args:
        folder: The run folder.
        datamodule: The data as it is now, set up.

    Raises:
        DataError: Tells how many photographs there were, and how many there are.
    """
    record = read_record(folder) if (folder / RECORD).exists() else {}
    began = record.get("data_fingerprint")
    if began in (None, datamodule.fingerprint):
        return
    had, has = record.get("counts") or {}, count_splits(datamodule)
    parts = ", ".join(f"{part} {had.get(part, 0)} then, {has.get(part, 0)} now" for part in {**had, **has})
    raise DataError(
        f"{folder} was begun with other photographs, labels or splits of {datamodule.name} than these ({parts}); "
        "resume with the same data (data.root= where it lies), or begin a run in another run_dir="
    )


def count_splits(datamodule: FundusDataModule) -> dict[str, int]:
    """Return the number of photographs in each part."""
    return {str(split): int(n) for split, n in datamodule.table["split"].value_counts().items() if split}
