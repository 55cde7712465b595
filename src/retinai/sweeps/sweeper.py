"""`-m`: every combination of the words as one sweep, with a record, a folder per job, and a table of what failed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig, open_dict

from retinai.config.devices import check_machine
from retinai.errors import UserError
from retinai.files import place_fault
from retinai.log import logger
from retinai.output_folders import check_folder, remove_empty
from retinai.run.lock import LOCK, locked
from retinai.run.run_records import RECORD
from retinai.sweeps.job import SweptJob
from retinai.sweeps.naming import called, folder_names, own_words, sweep_folder
from retinai.sweeps.plan import check_jobs, expand, only_places, refuse_swept_settings, refuse_too_many, what_is_swept
from retinai.sweeps.queue import ask_queue
from retinai.sweeps.record import FOLDER, SWEEP, Submission, SweepJob, SweepRecord, now, read_sweep, write_sweep
from retinai.sweeps.slurm import Submitted
from retinai.sweeps.states import FAILED, FINISHED, PRUNED, UNDONE, JobState, job_states
from retinai.sweeps.study import JOURNAL


class Launcher(Protocol):
    """What hands jobs to where they run: Hydra's own launcher, or one of a cluster."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        """Run or submit jobs."""


@dataclass
class Sweeping:
    """What Hydra gives a sweeper.

    Attributes:
        config: What the words without several values compose to, with the `hydra` section.
        context: Hydra's loader of configurations.
        task: The command.
    """

    config: DictConfig
    context: Any
    task: Any

    @property
    def command(self) -> str:
        """The name of the command."""
        return str(self.task.command)

    @property
    def is_local(self) -> bool:
        """Whether the jobs run in this process."""
        return str(self.config.hydra.launcher._target_).startswith("hydra._internal.")

    def compose(self, words: list[str]) -> DictConfig:
        """Return the configuration of one job, as its launcher will compose it, without the `hydra` section."""
        cfg = self.context.config_loader.load_sweep_config(self.config, words)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    def launcher(self, task: SweptJob) -> Launcher:
        """Return the launcher that was chosen, for a task; what it writes goes into the sweep's folder."""
        from hydra.core.plugins import Plugins
        from omegaconf import flag_override

        with flag_override(self.config, ["readonly", "struct"], [False, False]):
            self.config.hydra.sweep.dir = str(task.folder)
        return Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=task, config=self.config
        )


def sweep(given: Sweeping, words: list[str]) -> None:
    """Run or submit what of a sweep is missing or failed.

    Args:
        given: What Hydra gives a sweeper.
        words: The words of the command line that are no settings of Hydra's.

    Raises:
        UserError: If the sweep makes no sense, which is told before any job begins, or jobs failed.
    """
    if given.config.get("study"):
        raise UserError("study= is searched by Optuna; add hydra/sweeper=optuna, or name the sweep with sweep=")
    folder, again = choose_folder(given.config), bool(given.config.get("resume"))
    refuse_swept_settings(words)
    known = read_sweep(folder) if (folder / SWEEP).exists() else None
    record = _checked(given, folder, what_is_swept(words), known, again)
    check_folder(folder, "sweep")
    launcher = given.launcher(SweptJob(given.task, folder, again))
    if hasattr(launcher, "check"):
        launcher.check(folder)
    absent = [place for place in folder.parents if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "sweep"):
        if not (again and known is not None):
            write_sweep(folder, record)
        wanted = _wanted(folder, record, again)
        try:
            ids, errors = hand_over(launcher, given.config, folder, record, wanted) if wanted else ({}, {})
        except UserError:
            if known is None:
                leave_nothing(folder, absent)
            raise
    if ids:
        tell_submitted(folder, ids)
    elif wanted:
        tell_end(folder, record, errors)


def _checked(given: Sweeping, folder: Path, swept: list[str], known: SweepRecord | None, again: bool) -> SweepRecord:
    """Return the record of a sweep whose jobs were all composed and checked."""
    if known is not None and only_places(swept):
        swept = known.words
    jobs = expand(swept)
    refuse_too_many(len(jobs), int(given.config.max_jobs))
    record = _record(folder, given.config, swept, jobs, known, again)
    added = [added_words(given.config, folder, job) for job in record.jobs]
    check_jobs(given.command, jobs, added, given.compose, check_machine if given.is_local else None)
    return record


def hand_over(
    launcher: Launcher,
    config: DictConfig,
    folder: Path,
    record: SweepRecord,
    jobs: Sequence[SweepJob],
    more: Mapping[int, list[str]] | None = None,
) -> tuple[dict[str, str], dict[int, BaseException]]:
    """Hand jobs to a launcher, and note in the record what it submitted to a queue.

    Args:
        launcher: Of `Sweeping.launcher`.
        config: The configuration of the sweep as a whole.
        folder: The sweep's folder.
        record: Its record.
        jobs: What to begin.
        more: Number of a job -> further words for it.

    Returns:
        Number of a job -> its id in the queue, empty for jobs that have run here; and of those that have failed here
        number -> error.
    """
    calls = [[*_launched(config, folder, job), *(more or {}).get(job.number, [])] for job in jobs]
    results = list(launcher.launch(calls, jobs[0].number))
    ids = {str(j.number): r.queue_id for j, r in zip(jobs, results, strict=True) if isinstance(r, Submitted)}
    if ids:
        record.submissions.append(Submission(submitted=now(), ids=ids))
        write_sweep(folder, record)
    given = {job.number: getattr(result, "_return_value", None) for job, result in zip(jobs, results, strict=True)}
    return ids, {number: error for number, error in given.items() if isinstance(error, BaseException)}


def leave_nothing(folder: Path, absent: list[Path]) -> None:
    """Remove the record of a new sweep or study that no launcher took.

    Args:
        folder: Its folder.
        absent: Folders above that were made for it, the deepest first.
    """
    for name in (SWEEP, JOURNAL):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "slurm", ignore_errors=True)
    if {path.name for path in folder.iterdir()} <= {LOCK}:
        shutil.rmtree(folder)
        remove_empty(absent)


def choose_folder(config: DictConfig) -> Path:
    """Return the folder of a sweep: `sweep=` (or `study=`), `run_dir=`, or one named by the time.

    Raises:
        UserError: If two of them are given, or `resume=true` without need.
    """
    if config.get("sweep") and config.get("study"):
        raise UserError("study= names the sweep as well; leave out sweep=")
    named = config.get("sweep") or config.get("study")
    if named is None:
        return Path(str(config.run_dir or config.hydra.sweep.dir)).expanduser()
    if config.get("run_dir"):
        raise UserError("sweep= and run_dir= both name the folder of a sweep; leave one of them out")
    if config.get("resume"):
        raise UserError("resume=true is not needed: -m with the sweep's name goes on with what is missing or failed")
    return sweep_folder(str(named), Path(str(config.paths.outputs)) / FOLDER)


def _record(
    folder: Path, config: DictConfig, swept: list[str], jobs: list[list[str]], known: SweepRecord | None, again: bool
) -> SweepRecord:
    """Return the record of a sweep, the one that is there if it is of the same jobs.

    Raises:
        UserError: If the sweep that is there is of other jobs, or its folder holds runs and no record.
    """
    names = [str(number) for number in range(len(jobs))] if config.get("run_dir") else folder_names(jobs)
    made = [
        SweepJob(number=n, folder=name, overrides=words)
        for n, (name, words) in enumerate(zip(names, jobs, strict=True))
    ]
    new = SweepRecord(name=folder.name, created=now(), words=swept, jobs=made)
    if again:
        return new
    if known is not None:
        if [job.overrides for job in known.jobs] != jobs:
            raise UserError(
                f"{folder} is a sweep of {len(known.jobs)} jobs from other words ({' '.join(known.words)}); go on "
                "with it by -m with its name and no more words, or choose another sweep="
            )
        return known
    if taken := [name for name in names if (folder / name / RECORD).exists()]:
        raise UserError(
            f"{folder / taken[0]} already holds a run; choose another folder, or go on with the runs that are there "
            "with resume=true and the words of the sweep"
        )
    return new


def _wanted(folder: Path, record: SweepRecord, again: bool) -> list[SweepJob]:
    """Return the jobs to begin, and tell what is left alone."""
    states = [JobState(job, FAILED) for job in record.jobs] if again else _states_now(folder, record)
    wanted = [state.job for state in states if state.status in UNDONE]
    left: dict[str, int] = {}
    for state in states:
        if state.status not in UNDONE:
            left[state.status] = left.get(state.status, 0) + 1
    kept = f" ({', '.join(f'{n} {status}' for status, n in left.items())})" if left else ""
    logger.info(f"sweep {folder}: {len(wanted)} of {len(record.jobs)} jobs to begin{kept}")
    return wanted


def _states_now(folder: Path, record: SweepRecord) -> list[JobState]:
    """Return the states of a sweep whose lock this process holds: nothing of it runs outside of a queue."""
    return job_states(folder, record, ask_queue(record), at_work=False)


def added_words(config: DictConfig, folder: Path, job: SweepJob) -> list[str]:
    """Return the words that every job of a sweep gets."""
    again = ["resume=true"] if config.get("resume") else []
    return [f"run_dir={quoted(str(_base(config, folder) / job.folder))}", f"sweep={quoted(folder.name)}", *again]


def _base(config: DictConfig, folder: Path) -> Path:
    """Return the folder of the runs; `run_dir=` as it was written, since references may stand in it."""
    written = config._get_node("run_dir")
    raw = None if written is None else written._value()
    return Path(str(raw)).expanduser() if raw else folder


def _launched(config: DictConfig, folder: Path, job: SweepJob) -> list[str]:
    """Return all words of a job: its own, its folder, and that Hydra makes no folder itself."""
    hydra = [f"hydra.sweep.dir={quoted(str(folder))}", "hydra.sweep.subdir=."]
    return [*job.overrides, *added_words(config, folder, job), *hydra]


def quoted(text: str) -> str:
    """Return a text as a value that Hydra takes as it is."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def tell_submitted(folder: Path, ids: Mapping[str, str]) -> None:
    """Tell what was handed to a queue, and how to watch it."""
    arrays = ", ".join(sorted({job.partition("_")[0] for job in ids.values()}))
    count = "1 job was" if len(ids) == 1 else f"{len(ids)} jobs were"
    logger.info(
        f"sweep {folder}: {count} submitted (SLURM {arrays}). Watch: retinai runs sweep={folder}; logs: "
        f"{folder / 'slurm'}; the last job to end writes {folder / 'report.html'}"
    )


def tell_end(folder: Path, record: SweepRecord, errors: Mapping[int, BaseException]) -> None:
    """Tell how a sweep stands once its jobs have run here.

    Args:
        folder: The sweep's folder.
        record: Its record.
        errors: Of jobs that failed, by number; one may not have been able to write its state down.

    Raises:
        UserError: If jobs failed by faults of the user's.
        SystemExit: With code 1 if one failed by a defect.
    """
    states = job_states(folder, record, ask_queue(record))
    failed = [state for state in states if state.status == FAILED or state.job.number in errors]
    done = sum(state.status in (FINISHED, PRUNED) for state in states)
    logger.info(f"sweep {folder}: {done} of {len(states)} jobs finished")
    if not failed:
        return
    own = own_words([job.overrides for job in record.jobs])
    lines = [f"{called(s.job.number, own[s.job.number])}: {errors.get(s.job.number) or s.reason}" for s in failed]
    again = f"once mended, -m sweep={folder} begins what failed and nothing else"
    message = "\n".join([f"{len(failed)} of {len(states)} jobs failed; {again}", *(f"- {line}" for line in lines)])
    if any(_is_defect(state, errors.get(state.job.number)) for state in failed):
        logger.error(message)
        raise SystemExit(1)
    raise UserError(message)


def _is_defect(state: JobState, error: BaseException | None) -> bool:
    """Return whether a job failed by no fault of the user's."""
    if error is None or isinstance(error, UserError):
        return bool(state.told.get("defect"))
    return not (isinstance(error, OSError) and place_fault(error))
