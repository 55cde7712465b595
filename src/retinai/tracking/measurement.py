"""What a command that measures a trained run tells Weights & Biases, in the run's own group."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from retinai.errors import UserError
from retinai.files import read_yaml
from retinai.log import logger
from retinai.tracking.lineage import Item, give, take
from retinai.tracking.wandb_connection import (
    DEFAULTS,
    RUN_ID,
    Guard,
    Job,
    begin,
    checked,
    first_line,
    group_of,
    log,
    name_of,
    wanted_mode,
)

# What is that of the run unless the command says otherwise.
_OF_RUN = ("project", "entity", "group", "tags")


@dataclass(frozen=True)
class Measurement:
    """What was measured.

    Attributes:
        job: The job type: the name of the command.
        folder: Where the command wrote; `wandb/` goes below it.
        facts: What was measured and how, plain values; no paths.
        numbers: Figures, by name.
        tables: Given the `logger` section, functions that make what else is logged; called only where W&B is used.
        taken: What it began with.
        given: What it made.
    """

    job: str
    folder: Path
    facts: Mapping[str, Any]
    numbers: Mapping[str, float]
    tables: Callable[[Mapping[str, Any]], Sequence[Callable[[], dict[str, Any]]]] = lambda options: ()
    taken: Sequence[Item] = field(default_factory=tuple)
    given: Sequence[Item] = field(default_factory=tuple)


def tell(section: Mapping[str, Any], measured: Callable[[], Measurement], runs: Sequence[Path]) -> None:
    """Tell W&B what was measured, where the run that was measured is there, or a group is named (`logger.group`).

    A run that was trained without W&B stays out of it, with all that is measured of it. A failure of W&B is one line.

    Args:
        section: The `logger` section of the command.
        measured: Gives the measurement; called only where W&B is used.
        runs: The run folders that it is about; the first that W&B knows says project and group.

    Raises:
        ConfigError: If the section has an unknown key or value.
    """
    options, mode = checked(section), wanted_mode()
    known = next(_known(runs), None)
    if options["name"] == "none" or mode == "disabled" or (known is None and options["group"] is None):
        return
    of_run = known or {}
    for key in _OF_RUN:
        if options[key] == DEFAULTS[key] or not options[key]:
            options[key] = of_run.get(key, options[key])
    measurement = measured()
    job = Job(
        measurement.job, secrets.token_hex(4), str(options["group"]), name_of(measurement.folder), measurement.facts
    )
    try:
        run = begin(mode, options, measurement.folder, job)
    except Exception as error:  # W&B must never stop a command
        logger.warning(f"wandb: not used ({first_line(error)}); the files of the command have every number")
        return
    guarded = Guard("the files of the command have every number")
    for item in measurement.taken:
        guarded(partial(take, run, item))
    guarded(lambda: run.summary.update(dict(measurement.numbers)))
    for table in measurement.tables(options):
        guarded(partial(log, run, table))
    for item in measurement.given:
        guarded(partial(give, run, item))
    guarded(run.finish)


def _known(runs: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield the `logger` section of each run that was logged to W&B, with its group."""
    for folder in runs:
        try:
            if not (folder / RUN_ID).exists():
                continue
            content = yaml.safe_load(read_yaml(folder / "config.yaml")) or {}
            section = dict(content.get("logger") or {})
        except (UserError, OSError, ValueError, AttributeError, yaml.YAMLError):
            continue  # a run that is damaged or that nobody may read is told where its results are read
        if section.get("name") == "wandb":
            yield {**section, "group": group_of(section, content.get("sweep"), folder)}


def flat(values: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Return all numbers of nested mappings, by their keys joined with slashes.

    `{"qwk": {"value": 0.5, "low": 0.4}}` becomes `PREFIX/qwk` and `PREFIX/qwk_low`.

    Args:
        values: Nested mappings; what is neither a number nor a mapping is left out.
        prefix: What all names begin with.
    """
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}/{key}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            name = {"value": prefix, "low": f"{prefix}_low", "high": f"{prefix}_high"}.get(key, f"{prefix}/{key}")
            found[name] = float(value)
    return found
