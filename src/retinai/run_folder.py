"""The folder of one run: its place, and its `run.json` while it goes on.

`run.json` tells what a run was and how it ended: status (running, finished, failed, interrupted),
versions, git revision, data fingerprint, seed, timings, and the headline metrics.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retinai import __version__
from retinai.errors import UserError
from retinai.files import write_json, write_text
from retinai.run_records import RECORD, read_record

# How the first process of a run tells its folder to the ones that Lightning starts beside it.
_SHARED_FOLDER = "RETINAI_RUN_FOLDER"
_PACKAGES = ("torch", "lightning", "timm", "torchmetrics", "albumentations", "numpy")


def choose_run_folder(cfg: DictConfig) -> Path:
    """Return the folder that a training run will use; nothing is made yet.

    `run_dir=` is taken as it is (in a multirun with the job's number below it), else
    `<paths.outputs>/<data>/<model>/<backbone>/<time>`.

    Raises:
        UserError: If `run_dir` already holds a run and `resume` is not set, or `resume` is set and
            it holds none, or one of another length.
    """
    if not is_first_process():
        return _folder_of_first_process(cfg)
    if cfg.run_dir is None:
        base = Path(cfg.paths.outputs) / cfg.data.name / cfg.model.name / cfg.backbone.name
        return base / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = Path(cfg.run_dir) / _job_number()
    exists = (folder / RECORD).exists()
    if exists and not cfg.resume:
        raise UserError(f"{folder} already holds a run; add resume=true to go on with it, or choose another run_dir=")
    if cfg.resume and not exists:
        raise UserError(f"resume=true, but {folder} holds no run ({RECORD} is missing); check run_dir=")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"run_dir={folder} is a file; choose a folder")
    if cfg.resume:
        _check_same_length(cfg, folder)
    return folder


def _check_same_length(cfg: DictConfig, folder: Path) -> None:
    """Refuse another number of epochs than the run began with: its learning rate is planned over them."""
    file = folder / "config.yaml"
    begun = OmegaConf.select(OmegaConf.load(file), "trainer.max_epochs") if file.exists() else None
    asked = cfg.trainer.max_epochs
    if begun is not None and begun != asked:
        raise UserError(
            f"{folder} was begun with trainer.max_epochs={begun}, over which its learning rate is planned, and "
            f"resume=true is given {asked}; resume with {begun}, or train on in a run of its own: "
            f"+init=ckpt init.path={folder / 'checkpoints' / 'last.ckpt'}"
        )


def is_first_process() -> bool:
    """Return whether this process is the only one of its run, or the first of several (DDP)."""
    return all(int(os.environ.get(name, "0")) == 0 for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _folder_of_first_process(cfg: DictConfig) -> Path:
    if _SHARED_FOLDER in os.environ:
        return Path(os.environ[_SHARED_FOLDER])
    if cfg.run_dir is None:
        raise UserError("several processes were started for one run; give run_dir=, so that they share a folder")
    return Path(cfg.run_dir) / _job_number()


def _job_number() -> str:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return str(HydraConfig.get().job.num)
    return ""


def open_run_folder(folder: Path, cfg: DictConfig) -> Path:
    """Make the run folder and write `config.yaml` into it; a chosen name that is taken gets a number.

    Two runs that start in the same second get different folders: the one that makes it owns it.

    Args:
        folder: What `choose_run_folder` said.
        cfg: The composed configuration.

    Returns:
        The folder.
    """
    if not is_first_process():
        return folder
    if cfg.run_dir is None:
        folder = _make_unique(folder)
    os.environ[_SHARED_FOLDER] = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (cfg.resume and (folder / "config.yaml").exists()):
        write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    return folder


def _make_unique(folder: Path) -> Path:
    for number in range(1, 1000):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            continue
        return candidate
    raise UserError(f"no free folder name beside {folder}; set run_dir=")


@contextmanager
def recording(folder: Path, **facts: Any) -> Iterator[dict[str, Any]]:
    """Keep `run.json` while a run goes on: `running`, then `finished`, `failed` or `interrupted`.

    Args:
        folder: The run folder.
        **facts: What to tell of the run from its start (data, model, backbone, seed, ...).

    Yields:
        A mapping; what is put into it is written at the end, by the first process of the run.
    """
    if not is_first_process():
        yield {}
        return
    previous = read_record(folder) if (folder / RECORD).exists() else {}
    record = {
        "status": "running",
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": __version__,
        "versions": package_versions(),
        "git_revision": git_revision(),
        **facts,
    }
    record["resumed"] = int(previous.get("resumed", -1)) + 1 if previous else 0
    earlier = float(previous.get("seconds") or 0)
    write_json(folder / RECORD, record)
    begin = time.monotonic()
    late: dict[str, Any] = {}

    def close(status: str, **more: Any) -> None:
        seconds = round(earlier + time.monotonic() - begin, 1)
        ended = datetime.now().astimezone().isoformat(timespec="seconds")
        write_json(folder / RECORD, {**record, "status": status, "ended": ended, "seconds": seconds, **late, **more})

    try:
        yield late
    except (KeyboardInterrupt, SystemExit):
        # Lightning turns Ctrl-C and a scheduler's signal into an exit.
        close("interrupted")
        raise
    except BaseException as error:
        close("failed", reason=str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise
    close("finished")


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_revision() -> str | None:
    """Return the revision of the checkout that retinai runs from (`+` when changed), None outside one."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
