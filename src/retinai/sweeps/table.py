"""The table of a sweep's jobs, on the terminal and in its report."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from retinai.log import logger, printable
from retinai.sweeps.naming import own_words
from retinai.sweeps.states import FAILED, FINISHED, INTERRUPTED, MISSING, PRUNED, REQUEUED, RUNNING, JobState

_COLOURS = {FINISHED: "green", PRUNED: "green", RUNNING: "cyan", REQUEUED: "yellow", FAILED: "red",
            INTERRUPTED: "yellow", MISSING: "yellow"}  # fmt: skip
HEADERS = ["job", "state", "words", "score", "epochs", "min", "reason"]
_NUMBERS = ("job", "score", "epochs", "min")


def job_cells(states: Sequence[JobState]) -> list[list[str]]:
    """Return headers and one line of texts per job; words that all jobs share are left out."""
    lines = []
    for state, own in zip(states, own_words([state.job.overrides for state in states]), strict=True):
        record, seconds = state.record, state.record.get("seconds")
        score = state.told.get("score", record.get("best_score"))
        numbers = [
            "-" if score is None else f"{float(score):.3f}",
            "-" if record.get("epochs") is None else str(record["epochs"]),
            "-" if seconds is None else f"{seconds / 60:.1f}",
        ]
        lines.append(
            [str(state.job.number), state.status, " ".join(own) or "-", *numbers, " ".join(state.reason.split())]
        )
    return [HEADERS, *lines]


def print_jobs(title: str, states: Sequence[JobState]) -> None:
    """Print the table of jobs, and the whole reason of each that has one, a line each."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    for name in HEADERS[:-1]:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    _, *lines = job_cells(states)
    for line in lines:
        cells = [escape(printable(cell)) for cell in line[:-1]]
        cells[1] = f"[{_COLOURS.get(line[1], 'white')}]{cells[1]}[/]"
        table.add_row(*cells)
    Console().print(table)
    for line in lines:
        if line[-1]:
            logger.info(f"job {line[0]} {line[1]}: {line[-1]}")
