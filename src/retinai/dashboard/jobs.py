"""Jobs of sweeps that have no run folder: those that wait, and those that failed before there was one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retinai.errors import UserError
from retinai.run.run_records import RECORD, find_files
from retinai.sweeps.queue import ask_queue
from retinai.sweeps.record import SWEEP, read_sweep
from retinai.sweeps.states import JobState, job_states

# Keys whose values tell repetitions apart, by the words that set them.
_REPETITION = {"seed": "seed", "data.fold": "fold"}


def jobs_without_run(place: Path, problems: list[str]) -> dict[Path, dict[str, Any]]:
    """Return a record as `run.json` would hold it of each job in the sweeps below a folder that has none.

    Args:
        place: The folder.
        problems: What could not be read is added, a sentence each.
    """
    found: dict[Path, dict[str, Any]] = {}
    for file in find_files(place, (SWEEP,)):
        try:
            sweep = read_sweep(file.parent)
        except UserError as error:
            problems.append(str(error))
            continue
        states = job_states(file.parent, sweep, ask_queue(sweep))
        # What all jobs share is known from any that has a run.
        known: Mapping[str, Any] = next(
            (state.record for state in states if isinstance(state.record.get("choices"), Mapping)), {}
        )
        for state in states:
            folder = file.parent / state.job.folder
            if not (folder / RECORD).exists():
                found[folder.resolve()] = _record(folder, state, known)
    return found


def _record(folder: Path, state: JobState, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a job without a run, given that of another job of its sweep."""
    words = dict(word.lstrip("+").split("=", 1) for word in state.job.overrides if "=" in word)
    own = {name: int(words[key]) for key, name in _REPETITION.items() if words.get(key, "").isdecimal()}
    shared = {name: known.get(name) for key, name in _REPETITION.items() if key not in words}
    return {
        "folder": str(folder),
        "status": state.status,
        "reason": state.reason,
        "started": str(state.told.get("changed") or ""),
        "words": state.job.overrides,
        "choices": {group: words.get(group, option) for group, option in known.get("choices", {}).items()},
        **shared,
        **own,
    }
