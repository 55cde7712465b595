"""The configuration of a resumed run: its own `config.yaml`, and what may differ from it.

`resume=true run_dir=FOLDER` alone goes on as the run began. Words may be repeated; one that contradicts the run is
refused. What only says where things lie, which machine computes, or what is done after the training may differ.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from retinai.config.hydra_launch import in_multirun, in_sweep, launched_with
from retinai.config.paths import group_options
from retinai.errors import ConfigError, UserError
from retinai.files import read_yaml
from retinai.log import logger
from retinai.run.folder import given_folder
from retinai.run.run_records import RECORD, is_there, read_record

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

CONFIG = "config.yaml"
# Keys and sections that may differ from what a run began with. Where the data lies may, because its content is
# compared by the fingerprint, and where the teachers lie, because a checkpoint compares their weights.
MAY_DIFFER = (
    "debug", "paths", "logger", "calibrate", "test", "sweep", "study", "max_jobs",
    "trainer.accelerator", "trainer.enable_progress_bar",
    "data.num_workers", "data.root", "data.jsonl", "teacher.ckpt",
)  # fmt: skip
_CONTROL = ("resume", "run_dir")


def resumed(cfg: DictConfig) -> DictConfig:
    """Return the configuration that a run goes on with; one that does not resume anything is returned as it is.

    A job of a sweep whose folder holds a run goes on with it, whether it was requeued, stopped or failed.

    Args:
        cfg: What the words of the command line compose to.

    Returns:
        The run's own configuration, with `resume`, `run_dir` and what may differ from `cfg`.

    Raises:
        UserError: If words contradict the run, each by name, or its configuration cannot be read.
    """
    if in_sweep() and (given_folder(cfg) / RECORD).exists():
        cfg.resume = True
    if cfg.get("resume") is not True or not cfg.get("run_dir"):
        return cfg
    folder = given_folder(cfg)
    words, _ = launched_with()
    if not (folder / RECORD).exists():
        _check_first_of_sweep(folder, words)
        return cfg
    own = read_config(folder)
    record = read_record(folder)
    _refuse_lost_checkpoint(folder, record)
    choices = record.get("choices")
    new = [word for word in words if word not in _words(record)]
    result = _applied(cfg, own, new, choices if isinstance(choices, dict) else {}, folder)
    for key in MAY_DIFFER:
        if key in cfg and key not in result:  # of a run that is older than the key
            OmegaConf.update(result, key, cfg[key], force_add=True)
    for key in _CONTROL:
        OmegaConf.update(result, key, cfg[key], force_add=True)
    return result


@contextmanager
def say_where_it_stands(cfg: DictConfig) -> Iterator[None]:
    """Name the file of a resumed run's configuration beside what is wrong with it.

    Args:
        cfg: Of `resumed`.
    """
    try:
        yield
    except (ConfigError, OmegaConfBaseException) as error:
        file = given_folder(cfg) / CONFIG if cfg.get("resume") is True and cfg.get("run_dir") else None
        if file is None or not file.is_file():
            raise
        problems = error.problems if isinstance(error, ConfigError) else [str(error).splitlines()[0]]
        raise ConfigError([f"{problem} (the run's own configuration is {file})" for problem in problems]) from error


@contextmanager
def say_how_to_resume(folder: Path) -> Iterator[None]:
    """Print the command that goes on with a run when a signal ends it."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C and a scheduler's signal into an exit
        command = ["python", "train.py", "resume=true", f"run_dir={folder}"]
        logger.warning(f"the run can go on with: {shlex.join(command)}", extra={"plain": True})
        raise


def read_config(folder: Path) -> DictConfig:
    """Return `config.yaml` of a run folder.

    Raises:
        UserError: If it is missing or damaged.
    """
    file = folder / CONFIG
    if not os.path.lexists(file):
        raise UserError(f"{folder} cannot be resumed: {CONFIG}, the configuration of the run, is missing")
    try:
        config = OmegaConf.create(read_yaml(file))
        OmegaConf.to_container(config, resolve=True)  # a reference to nothing is told with the file
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise UserError(f"{file} is not readable: {str(error).splitlines()[0]}") from error
    if not isinstance(config, DictConfig):
        raise UserError(f"{file} is not readable: it holds no configuration")
    return config


def _refuse_lost_checkpoint(folder: Path, record: dict[str, Any]) -> None:
    """Refuse to begin a finished run anew, which would replace its best checkpoint, because `last.ckpt` is gone."""
    last = folder / "checkpoints" / "last.ckpt"
    if record.get("status") == "finished" and (record.get("epochs") or 0) > 0 and not is_there(last):
        raise UserError(
            f"{last} is missing, though the run has finished ({record['epochs']} epochs), so there is nothing to go on "
            "from; put the file back, or begin a run in another run_dir="
        )


def _words(record: dict[str, Any]) -> list[str]:
    """Return the words that a run began with; none for a run that did not note them."""
    words = record.get("words")
    return [str(word) for word in words] if isinstance(words, list) else []


def _applied(cfg: DictConfig, own: DictConfig, words: list[str], choices: dict[str, str], folder: Path) -> DictConfig:
    """Return a run's configuration with the words that may differ; refuse those that contradict it."""
    groups = group_options("train")
    result, faults = own.copy(), []
    begun = (folder / "checkpoints" / "last.ckpt").exists()
    overrides = {o.key_or_group: o for o in OverridesParser.create().parse_overrides(words)}  # the last one wins
    for override in sorted(
        overrides.values(), key=lambda o: o.key_or_group not in groups
    ):  # values after options, as in Hydra
        key = override.key_or_group
        if key in _CONTROL:
            continue
        if key in groups:
            faults += _apply_option(override, cfg, result, choices)
        else:
            faults += _apply_value(override, own, result, begun)
    if faults:
        raise UserError(
            f"{folder} goes on with its own {CONFIG}, and these words contradict it: {'; '.join(faults)}. Leave them "
            "out (resume=true run_dir= are enough), or begin a run in another run_dir=, from the weights of this one "
            f"with +init=ckpt init.path={folder / 'checkpoints' / 'last.ckpt'}"
        )
    return result


def _apply_value(override: Override, own: DictConfig, result: DictConfig, begun: bool) -> list[str]:
    """Put one word into a configuration if it may differ; return what is wrong with it otherwise."""
    key, word = override.key_or_group, str(override.input_line)
    has = _plain(own, key)
    if override.is_delete():
        return [] if has is None else [f"{word} (the run has {key}={has})"]
    OmegaConf.update(result, key, override.value(), force_add=True)
    asked = _plain(result, key)
    if asked == has or (_may_differ(key) and (begun or not key.startswith("teacher"))):
        return []
    return [f"{word} (the run has {_told(key, has)})"]


def _apply_option(override: Override, cfg: DictConfig, result: DictConfig, choices: dict[str, str]) -> list[str]:
    """The same for a word that chooses the option of a group.

    Args:
        override: The word.
        cfg: What all words compose to.
        result: The configuration that what may differ is put into.
        choices: The option of each group that the run began with; empty for runs that did not note them.
    """
    group, word = override.key_or_group, str(override.input_line)
    asked, began = None if override.is_delete() else str(override.value()), choices.get(group)
    if choices and asked == (None if began == "None" else began):
        return []
    if _may_differ(group):
        OmegaConf.update(result, group, _raw(cfg, group), merge=False, force_add=True)
        return []
    if not choices:  # an older run: then all words must be repeated
        differing = list(_differences(_plain(cfg, group), _plain(result, group), group))
    elif group == "trainer" and asked and began:
        differing = [(k, v) for k, v in _option_differences(group, began, asked) if v != _plain(result, k)]
    else:
        return [f"{word} (the run has {_told(group, began)})"]
    faults = [f"{key}={value}" for key, value in differing if not _may_differ(key)]
    for key, value in differing:
        if _may_differ(key):
            OmegaConf.update(result, key, value, force_add=True)
    return [f"{word} (it sets {', '.join(faults)}, the run has {_told(group, began)})"] if faults else []


def _option_differences(group: str, began: str, asked: str) -> list[tuple[str, Any]]:
    """Return the keys of a group in which one of its options differs from another, with the other's values."""
    from retinai.config.compose import compose

    first, second = (_plain(compose("train", [f"{group}={option}"]), group) for option in (began, asked))
    return list(_differences(second, first, group))


def _differences(asked: Any, has: Any, key: str) -> Iterable[tuple[str, Any]]:
    """Yield each key whose value differs from what the run has."""
    if isinstance(asked, dict) and isinstance(has, dict):
        for name in [*asked, *(name for name in has if name not in asked)]:
            yield from _differences(asked.get(name), has.get(name), f"{key}.{name}")
    elif asked != has:
        yield key, asked


def _may_differ(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in MAY_DIFFER)


def _plain(config: DictConfig, key: str) -> Any:
    value = OmegaConf.select(config, key)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _raw(config: DictConfig, key: str) -> Any:
    value = OmegaConf.select(config, key)
    return OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value


def _told(key: str, value: Any) -> str:
    return f"no {key}" if value is None or value == "None" else f"{key}={value}"


def _check_first_of_sweep(folder: Path, words: list[str]) -> None:
    """Let a resumed sweep begin the runs that it had not come to, if it is given all the words of the others.

    Raises:
        UserError: If nothing was begun there, or words are missing, which would fall back to defaults.
    """
    others = sorted(folder.parent.glob(f"*/{RECORD}")) if in_multirun() else []
    if not others:
        raise UserError(f"resume=true, but {folder} holds no run ({RECORD} is missing); check run_dir=")
    parser = OverridesParser.create()
    given = {*_CONTROL, *(override.key_or_group for override in parser.parse_overrides(words))}
    began = parser.parse_overrides(_words(read_record(others[0].parent)))
    missing = [str(o.input_line) for o in began if o.key_or_group not in given and not _may_differ(o.key_or_group)]
    if missing:
        raise UserError(
            f"{folder} is a run that the sweep had not begun, and {others[0].parent} began with {' '.join(missing)}; "
            "repeat the words of the sweep, or leave this run out"
        )
