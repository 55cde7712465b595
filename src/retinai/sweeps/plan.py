"""From the words of `-m` to jobs: expanded, counted, and each composed and checked before any begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from retinai.config.checks import check
from retinai.config.choices import settle
from retinai.errors import ConfigError, UserError
from retinai.sweeps.naming import called, own_words

# Words that say where and how a sweep runs, not what it is made of.
CONTROL = ("sweep", "max_jobs", "study", "debug", "resume", "run_dir")
_TOLD = 20


def what_is_swept(words: Sequence[str]) -> list[str]:
    """Return the words of the command line that say what a sweep is made of."""
    return [word for word in words if word.lstrip("+~").partition("=")[0] not in CONTROL]


def only_places(words: Sequence[str]) -> bool:
    """Return whether words say at most where things lie, so that the record of a sweep has to say the rest."""
    return all(word.startswith("paths.") for word in words)


def expand(words: Sequence[str]) -> list[list[str]]:
    """Return the words of each job: every combination of the values between commas.

    Args:
        words: As typed; `a=1,2`, `a=choice(1,2)`, `a=range(1,4)` and `a=glob(*)` hold several values.

    Raises:
        UserError: If a word is a space to search in rather than a list of values, or stands for no value at all.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = OverridesParser.create(config_loader=_loader()).parse_overrides(list(words))
    spaces = [o.input_line for o in overrides if o.is_sweep_override() and not o.is_discrete_sweep()]
    if spaces:
        raise UserError(f"{', '.join(map(str, spaces))} is a space to search in; add hydra/sweeper=optuna study=NAME")
    jobs = BasicSweeper.split_arguments(overrides, None)[0]
    if not jobs:
        empty = [str(o.input_line) for o in overrides if o.is_sweep_override() and not list(o.sweep_iterator())]
        raise UserError(f"{', '.join(empty)} stands for no value, so that there is no job; give values between commas")
    return jobs


def _loader() -> ConfigLoader:
    from hydra.core.global_hydra import GlobalHydra

    return GlobalHydra.instance().config_loader()


def refuse_swept_settings(words: Sequence[str]) -> None:
    """Refuse several values of a key that says how the sweep as a whole runs.

    Raises:
        UserError: Names the words.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = OverridesParser.create().parse_overrides(list(words))
    faults = [str(o.input_line) for o in overrides if o.key_or_group in CONTROL and o.is_sweep_override()]
    if faults:
        raise UserError(f"{', '.join(faults)}: this key is of the sweep as a whole and takes one value")


def refuse_too_many(count: int, most: int) -> None:
    """Refuse a sweep of more jobs than `max_jobs`.

    Raises:
        UserError: Says how many there would be.
    """
    if count > most:
        raise UserError(f"the sweep would start {count} jobs, and max_jobs={most} is the most; sweep less, or raise it")


def check_jobs(
    command: str,
    jobs: Sequence[Sequence[str]],
    added: Sequence[Sequence[str]],
    compose: Callable[[list[str]], DictConfig],
    machine: Callable[[str, DictConfig], None] | None = None,
) -> None:
    """Compose and check every job's configuration; what is wrong with any of them is told before one begins.

    Args:
        command: Name of the command.
        jobs: The words of each, in the order of their numbers.
        added: What the sweep adds to the words of each.
        compose: Gives the configuration of some words.
        machine: A further check, of the machine that this is; None where the jobs run elsewhere.

    Raises:
        ConfigError: With the problems of all jobs, each with the jobs that have it.
    """
    problems: dict[str, list[str]] = {}
    for number, (job, more, own) in enumerate(zip(jobs, added, own_words(jobs), strict=True)):
        words = [*job, *more]
        try:
            cfg, _ = settle(command, compose(words), words)
            check(command, cfg)
            if machine is not None:
                machine(command, cfg)
        except ConfigError as error:
            for problem in error.problems:
                problems.setdefault(problem, []).append(called(number, own))
    if not problems:
        return
    said = [f"{who[0]}{f' and {len(who) - 1} more jobs' if len(who) > 1 else ''}: {p}" for p, who in problems.items()]
    more = [f"and {len(said) - _TOLD} more problems"] if len(said) > _TOLD else []
    raise ConfigError([*said[:_TOLD], *more])
