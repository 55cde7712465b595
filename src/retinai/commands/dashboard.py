"""`retinai dashboard RUN...`: one HTML page about many runs, and the same panels for Weights & Biases."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from retinai.errors import UserError
from retinai.log import logger, note
from retinai.output_folders import check_folder, check_new

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.dashboard.collect import Collected
    from retinai.reports.contact_sheet import Mistake

PAGE = "dashboard.html"
_FILES = (PAGE, "wandb_workspace.json", "wandb_report.json", "wandb_sweep.yaml")


def run(cfg: DictConfig) -> None:
    """Write the page and the files for W&B.

    Args:
        cfg: The composed configuration of `conf/dashboard.yaml`, already checked.
    """
    from retinai.dashboard.collect import collect
    from retinai.dashboard.page import dashboard_page
    from retinai.files import write_text
    from retinai.run.results import named_or_new

    if not cfg.runs:
        raise UserError("no runs given; write: retinai dashboard FOLDER ... (a sweep's folder, run folders, outputs)")
    out = _folder(cfg)
    collected = collect([_place(str(place), str(cfg.paths.outputs)) for place in cfg.runs], out)
    title = str(cfg.title or f"retinai: {', '.join(str(place) for place in cfg.runs)}")
    mistakes, mistakes_of = _mistakes(collected, int(cfg.photographs))
    page = dashboard_page(collected, title, mistakes, mistakes_of)
    with named_or_new(cfg.out, lambda: _folder(cfg), out, "retinai dashboard", "out") as out:
        write_text(out / PAGE, page)
        for sentence in _for_wandb(cfg, collected, title, out):
            logger.info(sentence)
    if collected.problems:
        logger.info(f"{len(collected.problems)} files could not be read; the page says which")
    logger.info(f"{len(collected.runs)} runs: open {out / PAGE}")


def _folder(cfg: DictConfig) -> Path:
    if cfg.out:
        return check_new(check_folder(cfg.out, "out"), "out", _FILES, cfg.overwrite)
    check_folder(cfg.paths.outputs, "paths.outputs")
    return Path(cfg.paths.outputs) / "dashboards" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"


def _place(word: str, outputs: str) -> str:
    """Return the folder that a word means: itself, or that of the sweep of this name."""
    from retinai.sweeps.report import sweep_of

    sweep = None if Path(word).expanduser().is_dir() else sweep_of([word], outputs)
    return str(Path(word).expanduser() if sweep is None else sweep)


def _for_wandb(cfg: DictConfig, collected: Collected, title: str, out: Path) -> list[str]:
    """Write, and where there is a key push, what W&B takes."""
    if not cfg.wandb:
        return []
    from retinai.dashboard.wandb_views import share, sweep_file
    from retinai.files import write_text

    said = share(collected, title, out, str(cfg.project), cfg.entity)
    sweep = sweep_file(collected)
    if sweep is not None:
        write_text(out / "wandb_sweep.yaml", sweep)
        said.append(f"the same settings as a sweep of W&B: wandb sweep {out / 'wandb_sweep.yaml'}")
    return said


def _mistakes(collected: Collected, photographs: int) -> tuple[list[Mistake], str]:
    """Return the worst mistakes of the run with the best monitored metric; none where none are asked for."""
    from retinai.reports.contact_sheet import worst_mistakes
    from retinai.run.finished import load_runs

    measured = [run for run in collected.runs if (run["metrics"].get(collected.monitor) or [None])[0] is not None]
    if not photographs or not measured:
        return [], ""
    choose = min if collected.monitor in collected.lower_is_better else max
    best = choose(measured, key=lambda run: run["metrics"][collected.monitor][0])
    try:
        runs, _ = load_runs([best["folder"]])
    except UserError as error:  # the page is about many runs
        note(f"no photographs of {best['name']}: {error}")
        return [], ""
    return worst_mistakes(runs[0].predictions, limit=photographs), best["name"]
