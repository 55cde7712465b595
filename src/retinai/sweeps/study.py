"""A study of Optuna in a journal file beside the record of its sweep: no server, any shared disk."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError
from retinai.files import MAX_TEXT_BYTES, UnreadableError, read_regular
from retinai.log import note

if TYPE_CHECKING:
    import optuna

JOURNAL = "study.journal"
# What a trial is noted with by the job that stopped it early: the epoch.
PRUNED_AT = "pruned_at"


def open_study(folder: Path, load: bool = False, **how: Any) -> optuna.Study:
    """Return the study of a sweep, begun or gone on with.

    Args:
        folder: The sweep's folder; it also names the study.
        load: Only go on with one; where there is none, KeyError.
        **how: Of `optuna.create_study`: directions, sampler, pruner.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = str(folder / JOURNAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
        if load:
            return optuna.load_study(study_name=folder.name, storage=storage, **how)
        return optuna.create_study(study_name=folder.name, storage=storage, load_if_exists=True, **how)


def readable_study(folder: Path, begun: int, objectives: int) -> optuna.Study | None:
    """Return the study of a sweep to look at; None where its journal cannot be used, which is told and ends nothing.

    Args:
        folder: The sweep's folder.
        begun: How many jobs its record has.
        objectives: How many values a trial has.
    """
    try:
        check_journal(folder, begun)
        study = open_study(folder, load=True) if begun else None
        if study is not None and len(study.directions) != objectives:
            raise UserError(f"{folder / JOURNAL} is of {len(study.directions)} objectives, its sweep of {objectives}")
    except UserError as error:
        note(f"no figures of the study: {error}")
        return None
    return study


def check_journal(folder: Path, begun: int) -> None:
    """Refuse a journal that is missing, damaged or shorter than the record of its sweep.

    Args:
        folder: The sweep's folder.
        begun: How many jobs its record has.

    Raises:
        UserError: Says what is wrong and how to go on.
    """
    path = folder / JOURNAL
    if not begun:
        return
    if not path.exists():
        raise UserError(
            f"{path} is missing, the journal of a study with {begun} trials; put it back, or take another study="
        )
    try:
        lines = read_regular(path, MAX_TEXT_BYTES).split(b"\n")
    except UnreadableError as error:
        raise UserError(f"{path} cannot be used: {error.reason}; put a copy back, or take another study=") from error
    for number, line in enumerate(lines[:-1], 1):
        try:
            json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(
                f"{path} is damaged: line {number} is no whole record; put a copy back, or take another study="
            ) from None
    if lines[-1]:
        raise UserError(
            f"{path} is cut short: line {len(lines)}, its last, is no whole record; put a copy back, or remove that "
            "line if the study was stopped while it was written"
        )
    try:
        trials = len(open_study(folder, load=True).trials)
    except KeyError:  # not even the study is there
        trials = 0
    except Exception as error:  # Optuna takes each line as it stands
        raise UserError(
            f"{path} is damaged: Optuna cannot read it ({type(error).__name__}: {error}); put a copy back, or take "
            "another study="
        ) from error
    if trials < begun:
        raise UserError(
            f"{path} is cut short: it holds {trials} trials, and {begun} were begun; put a copy back, or take "
            "another study="
        )
