"""The report of a sweep: its runs side by side, and the table of all jobs with what became of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from retinai.errors import UserError
from retinai.log import logger
from retinai.reports.compare import Row, compare, write_comparison
from retinai.reports.tables import PageTable
from retinai.run.finished import load_runs
from retinai.run.lock import locked
from retinai.run.run_records import is_there
from retinai.sweeps.objectives import LABELS, SCORE
from retinai.sweeps.queue import ask_queue
from retinai.sweeps.record import FOLDER, SWEEP, SweepRecord, read_sweep
from retinai.sweeps.states import FAILED, FINISHED, PRUNED, STATES, JobState, job_states, read_state
from retinai.sweeps.study import readable_study
from retinai.sweeps.study_figures import front_table, study_figures
from retinai.sweeps.table import job_cells

_ENDED = (FINISHED, PRUNED, FAILED)
FORMATS = ("md", "csv", "html")


def write_report(
    folder: Path,
    out: Path | None = None,
    formats: Sequence[str] = FORMATS,
    *,
    resamples: int = 1000,
    against: str | None = None,
    metrics: Sequence[str] | None = None,
    at_work: bool | None = None,
) -> str:
    """Write `report.md`, `report.csv` and `report.html` of a sweep; return the Markdown.

    Args:
        folder: The sweep's folder.
        out: Where the files go; None: into the sweep's folder.
        formats: Which of them.
        resamples: Bootstrap resamples of the pooled intervals.
        against: A run's folder that the groups are compared with, paired.
        metrics: Metrics to show; None: all.
        at_work: As in `job_states`.

    Raises:
        UserError: As `load_runs` and `compare`.
    """
    sweep = read_sweep(folder)
    states = job_states(folder, sweep, ask_queue(sweep), at_work)
    folders = [folder / state.job.folder for state in states]
    measured = [run for run in folders if os.path.exists(run / "metrics.json")]  # noqa: PTH110 (no error where nobody may look)
    rows: list[Row] = []
    if measured:
        runs, damaged = load_runs([str(run) for run in measured])
        rows = compare(runs, resamples=resamples, against=against, damaged=damaged)
    if metrics:
        rows = [replace(row, metrics={k: v for k, v in row.metrics.items() if k in metrics}) for row in rows]
    title = f"Sweep {sweep.name}"
    objectives = _objectives(folder, sweep)
    study = readable_study(folder, len(sweep.jobs), len(objectives)) if sweep.study else None
    figures = [] if study is None else study_figures(study, objectives)
    tables = [_table(sweep, states), *([] if study is None else front_table(study, objectives))]
    return write_comparison(rows, out or folder, formats, title=title, tables=tables, figures=figures)


def _objectives(folder: Path, sweep: SweepRecord) -> list[str]:
    """Return what a study looks for.

    Raises:
        UserError: If the record names something else.
    """
    named = sweep.study.get("objectives", [SCORE])
    if not (isinstance(named, list) and named and all(isinstance(name, str) and name in LABELS for name in named)):
        raise UserError(f"{folder / SWEEP} is not readable: study.objectives: valid are {', '.join(LABELS)}")
    return named


def sweep_of(places: Sequence[str], outputs: str) -> Path | None:
    """Return the folder of the sweep that is to be reported; None where something else is.

    Args:
        places: What the command was given.
        outputs: `paths.outputs`.
    """
    if len(places) != 1:
        return None
    folders = [Path(places[0]).expanduser(), Path(outputs) / FOLDER / places[0]]
    return next((folder for folder in folders if is_there(folder / SWEEP)), None)


def _table(sweep: SweepRecord, states: Sequence[JobState]) -> PageTable:
    done = sum(state.status in (FINISHED, PRUNED) for state in states)
    headers, *lines = job_cells(states)
    return PageTable(f"Jobs: {done} of {len(states)} finished", headers, lines, f"Words: {' '.join(sweep.words)}")


def write_report_of_ended(folder: Path) -> None:
    """Write the report if no job of a sweep is left to end; what is wrong with it is told and ends nothing.

    Two jobs that end at the same moment take turns by a lock, and the second one's report replaces the first's.

    Args:
        folder: The sweep's folder.
    """
    sweep = read_sweep(folder)
    if sweep.study:  # more jobs may come; who chooses them writes the report
        return
    if any(read_state(folder, job.number).get("status") not in _ENDED for job in sweep.jobs):
        return
    try:
        with locked(folder / STATES, "report of this sweep", wait=True):
            write_report(folder, at_work=False)
    except UserError as error:  # the runs are what matters; the report can be written again
        logger.warning(f"the report of the sweep could not be written: {error}; again with: retinai report {folder}")
        return
    logger.info(f"report of the sweep: {folder / 'report.html'}")
