"""`hydra/sweeper=optuna`: Optuna chooses the jobs of a sweep, a batch at a time, and any launcher runs them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError
from pydantic.dataclasses import dataclass as checked

from retinai.config.devices import check_machine
from retinai.errors import MissingExtraError, UserError
from retinai.log import logger, note
from retinai.output_folders import check_folder
from retinai.run.lock import locked
from retinai.sweeps.job import SweptJob
from retinai.sweeps.objectives import SCORE, Objective, directions
from retinai.sweeps.plan import check_jobs, only_places, refuse_swept_settings, refuse_too_many, what_is_swept
from retinai.sweeps.queue import ask_queue
from retinai.sweeps.record import SWEEP, SweepJob, SweepRecord, now, read_sweep, write_sweep
from retinai.sweeps.report import write_report
from retinai.sweeps.slurm import RefusedSubmissionError
from retinai.sweeps.space import as_texts, read_space, words_of
from retinai.sweeps.states import FAILED, FINISHED, JobState, job_states, note_state
from retinai.sweeps.study import PRUNED_AT, check_journal, open_study
from retinai.sweeps.sweeper import (
    Launcher,
    Sweeping,
    added_words,
    choose_folder,
    hand_over,
    leave_nothing,
    quoted,
)

if TYPE_CHECKING:
    import optuna

_LARGEST_SEED = 2**31  # the number of jobs so far is added to it, and numpy takes 32 bits
_LOOK_EVERY = 5.0  # seconds between two questions to the queue
# What of a study stays the same, or its trials could not be compared.
_KEPT = {"space": "ranges", "fixed": "fixed words", "direction": "directions", "objectives": "objectives"}


@checked(config={"extra": "forbid", "strict": True})
class Settings:
    """The section `hydra.sweeper`.

    Attributes:
        n_trials: Trials that the study shall have in the end.
        n_jobs: Trials that are handed to the launcher at once.
        objectives: What is looked for: `score` alone, or with `latency_ms` or `parameters_m`, of which less is better.
        direction: Whether a high or a low score is good.
        seed: Of the sampler.
        prune: Whether trials that fall behind are stopped.
        startup: Trials that are never stopped.
        warmup: Epochs in which no trial is stopped.
    """

    n_trials: int
    n_jobs: int
    objectives: list[Objective]
    direction: Literal["maximize", "minimize"]
    seed: int
    prune: bool
    startup: int
    warmup: int

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be."""
        for key, least in (("n_trials", 1), ("n_jobs", 1), ("seed", 0), ("startup", 0), ("warmup", 0)):
            if getattr(self, key) < least:
                raise UserError(f"hydra.sweeper.{key}={getattr(self, key)} must be at least {least}")
        if self.seed > _LARGEST_SEED:
            raise UserError(f"hydra.sweeper.seed={self.seed} must be at most {_LARGEST_SEED}")
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise UserError(f"hydra.sweeper.objectives=[{','.join(self.objectives)}] must name one or more, each once")

    @property
    def several(self) -> bool:
        """Whether there are several objectives, and so a front of best trials and no best one."""
        return len(self.objectives) > 1


def read_settings(section: Mapping[str, Any]) -> Settings:
    """Return the section `hydra.sweeper`, checked.

    Raises:
        UserError: Names the key.
    """
    from omegaconf import ListConfig

    values: dict[str, Any] = {k: list(v) if isinstance(v, ListConfig) else v for k, v in section.items()}
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"hydra.sweeper.{first['loc'][0]}: {first['msg'].lower()}") from error


@dataclass
class Search:
    """One call of a study.

    Attributes:
        given: What Hydra gives a sweeper.
        settings: The section `hydra.sweeper`.
        folder: The sweep's folder.
        record: Its record, which grows.
        space: What is searched.
        fixed: The words of all jobs.
        study: Optuna's.
        launcher: What runs the jobs.
    """

    given: Sweeping
    settings: Settings
    folder: Path
    record: SweepRecord
    space: dict[str, Any]
    fixed: list[str]
    study: optuna.Study
    launcher: Launcher


def search(given: Sweeping, section: Mapping[str, Any], words: list[str]) -> float | None:
    """Run a study until it has its trials; return the best value.

    Raises:
        UserError: If the study makes no sense or is another than the one that is there, before any job begins; or if
            jobs failed.
    """
    if find_spec("optuna") is None:
        raise MissingExtraError("optuna", "search")
    settings = read_settings(section)
    if not given.config.get("study"):
        raise UserError("hydra/sweeper=optuna needs study=NAME, by which the search can go on later")
    folder = choose_folder(given.config)
    refuse_swept_settings(words)
    known = read_sweep(folder) if (folder / SWEEP).exists() else None
    swept = what_is_swept(words)
    if known is not None and only_places(swept):
        swept = known.words
    space, fixed = read_space(swept)
    refuse_too_many(settings.n_trials, int(given.config.max_jobs))
    kept = {
        "space": as_texts(space),
        "fixed": fixed,
        "direction": settings.direction,
        "objectives": settings.objectives,
    }
    record = _record(folder, known, swept, kept)
    check_folder(folder, "study")
    launcher = given.launcher(SweptJob(given.task, folder, objectives=settings.objectives))
    if hasattr(launcher, "check"):
        launcher.check(folder)
    check_journal(folder, len(record.jobs))
    if known is None:
        _check_one(given, folder, space, fixed)
    absent = [place for place in folder.parents if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "study"):
        write_sweep(folder, record)
        ways = directions(settings.objectives, settings.direction)
        study = open_study(folder, directions=ways, sampler=_sampler(settings, len(record.jobs)))
        if settings.several and settings.prune:
            note("several objectives: no trial is stopped early, since Optuna compares epochs by one value only")
        this = Search(given, settings, folder, record, space, fixed, study, launcher)
        try:
            _go_on(this)
            while (left := settings.n_trials - len(record.jobs)) > 0:
                _run(this, [_new_job(this) for _ in range(min(settings.n_jobs, left))])
        except RefusedSubmissionError:
            if known is None and not record.submissions:
                leave_nothing(folder, absent)
            raise
    return _tell_end(this)


def _record(folder: Path, known: SweepRecord | None, words: list[str], study: dict[str, Any]) -> SweepRecord:
    """Return the record of a study, the one that is there if its search is the same."""
    if known is None:
        return SweepRecord(name=folder.name, created=now(), words=words, jobs=[], study=study)
    if not known.study:
        raise UserError(f"{folder} is a sweep without a study; choose another study=")
    of_before = {"objectives": [SCORE], **known.study}
    for key, what in _KEPT.items():
        if of_before.get(key) != study[key]:
            raise UserError(
                f"{folder} is a study with other {what} ({_difference(of_before.get(key), study[key])}), and its "
                "trials would not be comparable; go on with its own words, or begin another study="
            )
    return known


def _difference(has: Any, asked: Any) -> str:
    if isinstance(has, dict) and isinstance(asked, dict):
        keys = [key for key in {**has, **asked} if has.get(key) != asked.get(key)]
        return "; ".join(
            f"{key} was {has.get(key, 'not searched')}, is {asked.get(key, 'not searched')}" for key in keys
        )
    return f"was {has}, is {asked}"


def _check_one(given: Sweeping, folder: Path, space: Mapping[str, Any], fixed: list[str]) -> None:
    """Compose and check a new study with each option and both ends of each range, before anything is written."""
    values = {key: list(getattr(d, "choices", ())) or [d.low, d.high] for key, d in space.items()}
    first = {key: options[0] for key, options in values.items()}
    drawn = [first, *({**first, key: option} for key, options in values.items() for option in options[1:])]
    jobs = [[*fixed, *words_of(params)] for params in drawn]
    places = [SweepJob(number=n, folder=str(n), overrides=words) for n, words in enumerate(jobs)]
    added = [added_words(given.config, folder, job) for job in places]
    check_jobs(given.command, jobs, added, given.compose, check_machine if given.is_local else None)


def _sampler(settings: Settings, begun: int) -> optuna.samplers.BaseSampler:
    """Return the sampler; one that goes on draws other numbers than it began with."""
    import optuna

    return optuna.samplers.TPESampler(seed=settings.seed + begun, constant_liar=settings.n_jobs > 1, multivariate=False)


def _new_job(this: Search) -> SweepJob:
    return _job_of(this, this.study.ask(this.space))


def _job_of(this: Search, trial: optuna.Trial | optuna.trial.FrozenTrial) -> SweepJob:
    """Return the job of a trial, noted in the record; trials and jobs have the same numbers."""
    job = SweepJob(number=trial.number, folder=str(trial.number), overrides=[*this.fixed, *words_of(trial.params)])
    this.record.jobs.append(job)
    write_sweep(this.folder, this.record)
    return job


def _go_on(this: Search) -> None:
    """End the trials that an earlier call left open: their jobs go on where they were stopped."""
    for trial in this.study.trials[len(this.record.jobs) :]:
        _job_of(this, trial)
    numbers = {trial.number for trial in this.study.trials if not trial.state.is_finished()}
    if numbers:
        _run(this, [job for job in this.record.jobs if job.number in numbers])


def _run(this: Search, jobs: list[SweepJob]) -> None:
    """Run a batch of jobs and tell Optuna how they ended."""
    waiting = {s.job.number for s in _states(this) if s.status in ("pending", "running", "requeued")}
    begun = [job for job in jobs if job.number not in waiting]
    if begun:
        prunes = this.settings.prune and not this.settings.several
        more = {job.number: _pruning(this, job) for job in begun} if prunes else {}
        hand_over(this.launcher, this.given.config, this.folder, this.record, begun, more)
    numbers = {job.number for job in jobs}
    while True:
        states = [state for state in _states(this) if state.job.number in numbers]
        if all(state.status not in ("pending", "running", "requeued") for state in states):
            break
        time.sleep(_LOOK_EVERY)
    for state in states:
        _tell(this, state)


def _states(this: Search) -> list[JobState]:
    return job_states(this.folder, this.record, ask_queue(this.record), at_work=False)


def _pruning(this: Search, job: SweepJob) -> list[str]:
    """Return the words that add the callback which reports a trial's epochs."""
    values = {"_target_": "retinai.sweeps.pruning.PruneTrial", "folder": quoted(str(this.folder)), "trial": job.number,
              "startup": this.settings.startup, "warmup": this.settings.warmup}  # fmt: skip
    return [f"+callbacks.prune.{key}={value}" for key, value in values.items()]


def _tell(this: Search, state: JobState) -> None:
    """Tell Optuna how a job ended, and note for the table whether it was stopped early."""
    import optuna

    values = state.told.get("values") or [state.told.get("score")]  # those of an earlier version have the score alone
    trial = this.study.trials[state.job.number]
    if trial.state.is_finished():
        return
    if state.status != FINISHED or not all(value is not None and math.isfinite(value) for value in values):
        this.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    elif PRUNED_AT in trial.user_attrs:
        note_state(this.folder, state.job.number, pruned=True)
        this.study.tell(trial.number, state=optuna.trial.TrialState.PRUNED)
    else:
        this.study.tell(trial.number, [float(value) for value in values])


def _tell_end(this: Search) -> float | None:
    """Write the report, tell the best trial or trials; a study without any result ends with a fault."""
    complete = [trial for trial in this.study.trials if trial.state.name == "COMPLETE"]
    write_report(this.folder, at_work=False)
    logger.info(f"study {this.folder}: {len(complete)} of {len(this.record.jobs)} trials complete")
    failed = [state for state in _states(this) if state.status == FAILED]
    if not complete:
        reason = failed[0].reason if failed else "all were stopped early"
        raise UserError(f"no trial of the study {this.folder} has a result: {reason}")
    for best in this.study.best_trials if this.settings.several else [this.study.best_trial]:
        found = ", ".join(
            f"{'' if name == SCORE else f'{name} '}{value:.4f}"
            for name, value in zip(this.settings.objectives, best.values, strict=True)
        )
        logger.info(f"best: trial {best.number}, {found}, with {' '.join(words_of(best.params))}")
    if this.settings.several:
        logger.info("best of several objectives: no other trial is at least as good in each of them (Pareto front)")
    logger.info(f"report of the study: {this.folder / 'report.html'}")
    if failed:
        logger.warning(f"{len(failed)} trials failed; retinai runs sweep={this.folder} tells why")
    return None if this.settings.several else this.study.best_value
