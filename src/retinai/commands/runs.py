"""`retinai runs`: all runs below a folder, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retinai.log import logger

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.table import Table

_COLOURS = {"finished": "green", "running": "cyan", "failed": "red", "interrupted": "yellow", "damaged": "red"}


def run(cfg: DictConfig) -> None:
    """Print the table of runs.

    Args:
        cfg: The composed configuration of `conf/runs.yaml`, already checked.
    """
    from rich.console import Console

    from retinai.run.run_records import find_runs

    if cfg.sweep:
        _print_sweep(str(cfg.sweep), str(cfg.paths.outputs))
        return
    runs = find_runs(str(cfg.root))
    if not runs:
        logger.info(f"no runs below {cfg.root}; make one with: python train.py")
        return
    shown = runs[: cfg.limit]
    Console().print(runs_table(shown))
    # Plain lines, so that a folder can be copied whole whatever the width of the terminal.
    for number, record in enumerate(shown, 1):
        logger.info(f"{number:>3}  {record['folder']}")


def _print_sweep(place: str, outputs: str) -> None:
    """Print the jobs of a sweep with their states."""
    from retinai.sweeps.queue import ask_queue
    from retinai.sweeps.record import find_sweep, read_sweep
    from retinai.sweeps.states import job_states
    from retinai.sweeps.table import print_jobs

    folder = find_sweep(place, outputs)
    sweep = read_sweep(folder)
    print_jobs(f"sweep {sweep.name}", job_states(folder, sweep, ask_queue(sweep)))
    logger.info(f"sweep folder: {folder}")


def runs_table(runs: list[dict[str, Any]]) -> Table:
    """Return the table of runs.

    Args:
        runs: Records of `find_runs`.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from retinai.log import printable
    from retinai.run.run_records import DAMAGED

    table = Table(title=f"{len(runs)} runs", title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("data, model, backbone", overflow="fold")
    table.add_column("metric")
    for header in ("seed", "fold", "epochs", "min"):
        table.add_column(header, justify="right", no_wrap=True)
    for number, record in enumerate(runs, 1):
        status = str(record.get("status", "?"))
        seconds = record.get("seconds")
        what = " ".join(_text(record.get(key)) for key in ("data", "model", "backbone"))
        minutes = "-" if seconds is None else f"{seconds / 60:.1f}"
        numbers = [_text(record.get(key)) for key in ("seed", "fold", "epochs")]
        cells = [str(record["reason"]) if status == DAMAGED else what, key_metric(record), *numbers, minutes]
        state = f"[{_COLOURS.get(status, 'white')}]{escape(printable(status))}[/]"
        table.add_row(str(number), state, *(escape(printable(cell)) for cell in cells))
    return table


def key_metric(record: dict[str, Any]) -> str:
    """Return the test metric that the task watches, with its interval; the validation one until there is one."""
    from retinai.reports.wording import with_interval

    monitor = str(record.get("monitor") or "val/qwk")
    name = monitor.removeprefix("val/")
    metric = (record.get("metrics") or {}).get(name)
    if metric:
        return f"{name} {with_interval(metric, 2)}"
    score = record.get("best_score")
    return "-" if score is None else f"{monitor} {score:.2f}"


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
