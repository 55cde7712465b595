"""Composition of a command's configuration with Hydra, and what is said when it does not compose."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from omegaconf import DictConfig

from retinai.config.joined_data import spread_data
from retinai.config.multirun import without_traces
from retinai.config.paths import conf_dir, group_options, study_dirs
from retinai.config.swept_options import how_to_share, options_of
from retinai.config.unreadable_files import what_is_unreadable
from retinai.errors import ConfigError, UserError


class Launched(Protocol):
    """What Hydra calls for one composed configuration: `retinai.commands.job.Job`."""

    command: str
    fault: UserError | None
    broken: Exception | None
    called: bool

    def __call__(self, cfg: DictConfig) -> object:
        """Check the configuration, then run the command."""


# Flags of Hydra's that take the next word.
FLAGS_WITH_VALUE = ("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir",
                    "-cd", "--experimental-rerun")  # fmt: skip
# A flag of Hydra's and the ways in which it may be cut short.
_RERUN = {"--experimental-rerun"[:length] for length in range(len("--ex"), len("--experimental-rerun") + 1)}
# What Hydra reads as no text: null, a number, true or false.
_NO_NAME = re.compile(r"null|true|false|nan|[-+]?(inf|[0-9][0-9_]*(\.[0-9]*)?(e[-+]?[0-9]+)?)", re.IGNORECASE)


def launch(job: Launched, arguments: list[str]) -> None:
    """Compose `conf/<command>.yaml` with the overrides and run it, once or as a multirun.

    Args:
        job: The command; it keeps a fault of the user's in `fault`, a configuration that does not resolve in `broken`.
        arguments: Hydra overrides and flags as typed.

    Raises:
        UserError: If the configuration does not compose (all problems at once) or the command
            finds a fault of the user's.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    command, arguments = job.command, spread_data(arguments)
    register_search_path()
    _refuse_odd_options(command, arguments)
    entry = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(job)
    try:
        with without_traces(command, arguments) as words, _argv(command, words), _full_errors():
            entry()
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_diagnose(command, arguments, error)) from error
    except (ValueError, OSError, RecursionError, YAMLError) as error:
        if job.called:
            raise
        if said := what_is_unreadable(error, arguments):
            raise ConfigError([said]) from error
        # Hydra's word for flags that do not go together or are not finished, and for a folder that it cannot make.
        raise ConfigError([f"{str(error).strip().splitlines()[0]}; retinai {command} --help shows examples"]) from error
    if job.fault is not None:
        raise job.fault
    if job.broken is not None:
        raise ConfigError(_diagnose(command, arguments, job.broken)) from job.broken


def compose(command: str, overrides: list[str]) -> DictConfig:
    """Return the composed configuration of a command without running it.

    Args:
        command: Name of the command.
        overrides: Hydra overrides, such as `["data=idrid", "seed=1"]`.

    Raises:
        ConfigError: If it does not compose, with every problem.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from retinai.config.choices import settle

    overrides = spread_data(overrides)
    register_search_path()
    _refuse_odd_options(command, overrides)
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = hydra.compose(command, overrides)
        return settle(command, cfg, overrides)[0]
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_diagnose(command, overrides, error)) from error


def register_search_path() -> None:
    """Let `+experiment=NAME` find the compositions in the folders of the studies."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class StudySearchPath(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for study in study_dirs():
                search_path.append("retinai-studies", f"file://{study}")

    known = {plugin.__name__ for plugin in Plugins.instance().discover(SearchPathPlugin)}
    if StudySearchPath.__name__ not in known:
        Plugins.instance().register(StudySearchPath)


def _diagnose(command: str, arguments: list[str], error: Exception) -> list[str]:
    """Return every problem of the overrides; the first error of Hydra alone if none is found."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    problems: list[str] = []
    parser = OverridesParser.create()
    options = group_options(command)
    keys: Callable[[str], str | None] = _key_checker(command, arguments, options)
    before = ["", *arguments]
    for text in (
        a for a, flag in zip(arguments, before, strict=False) if a[:1] != "-" and flag not in FLAGS_WITH_VALUE
    ):
        try:
            override = parser.parse_override(text)
        except HydraException:
            problems.append(f"{text!r} is not an override; {_how_to_write(text)}")
            continue
        name = override.key_or_group
        if name in options:
            problems += _option_problems(name, override.value(), options[name], override)
        elif override.is_add() or override.is_delete() or name.startswith("hydra"):
            continue
        elif problem := keys(name):
            problems.append(problem + how_to_share(command, arguments, options, name, text.partition("=")[2]))
    if problems and "resume=true" in arguments:
        problems.append("resume=true run_dir=FOLDER goes on with the run's own configuration; leave other words out")
    return problems or [
        what_is_unreadable(error, arguments) or _of_another_model(error) or _first_lines(error, arguments)
    ]


def _option_problems(group: str, value: object, valid: list[str], override: object) -> list[str]:
    from retinai.config.build import hint

    values = getattr(value, "list", None) or [value]  # a sweep holds several
    empty = f"{group}=null is no option; leave the word out, or choose one (valid: {', '.join(valid)})"
    return [
        empty if v is None else f"{group}={v}: no such option {hint(str(v), valid)}"
        for v in values
        if v is None or str(v) not in valid
    ]


def _names_nothing(value: str) -> bool:
    """Whether a value is a number or null, or a list of such things; a mapping may be a class of one's own."""
    value = value.strip()
    if not value.startswith("["):
        return _NO_NAME.fullmatch(value) is not None
    items = [item.strip() for item in value[1:].removesuffix("]").split(",")]
    return any(_NO_NAME.fullmatch(item) or item.startswith(("[", "{")) for item in items)


def _refuse_odd_options(command: str, arguments: list[str]) -> None:
    """Refuse `loss=null`, `loss=3`, `loss=[[1]]` and `=3` before Hydra sees them, which would leave with a traceback.

    And `--experimental-rerun`, which unpickles a file: that can run any code, and no run of retinai writes such a file.
    """
    if any(argument.partition("=")[0] in _RERUN for argument in arguments):
        raise ConfigError(["--experimental-rerun is not for retinai; a run goes on with resume=true run_dir=FOLDER"])
    groups = group_options(command)
    words = [argument.partition("=") for argument in arguments if not argument.startswith(("-", "~"))]
    nameless = [f"{''.join(word)!r} has no key; write key=value" for word in words if not word[0].strip("+ ")]
    if nameless:
        raise ConfigError(nameless)
    if any(_names_nothing(value) and key.lstrip("+") in groups for key, _, value in words):
        raise ConfigError(_diagnose(command, arguments, ValueError()))


def _how_to_write(text: str) -> str:
    """Return how a word is written that does not parse: with quotes that reach Hydra, past those of the shell."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[+~]*[\w.@/]+", key):
        return "write key=value"
    bare = value.strip("'\"").replace("\\", "\\\\").replace("'", "\\'")
    return f"write key=value, with special characters in quotes inside those of the shell: \"{key}='{bare}'\""


def _key_checker(command: str, arguments: list[str], options: dict[str, list[str]]) -> Callable[[str], str | None]:
    """Return a function that says what is wrong with a key, against what the valid groups compose to."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    from retinai.config.build import hint

    choices = options_of(arguments, options)
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            base = hydra.compose(command, choices)
    except HydraException:
        return lambda name: None

    known = OmegaConf.to_container(base, resolve=False, throw_on_missing=False)

    def problem(name: str) -> str | None:
        node: object = known
        for depth, part in enumerate(parts := name.split(".")):
            if not isinstance(node, dict):
                return f"{name}: {'.'.join(parts[:depth])} is a value, not a section"
            if part not in node and depth == 0 and part in options:
                valid = ", ".join(options[part])
                return f"{name}: there is no {part} section without {part}=; choose one too (valid: {valid})"
            if part not in node:
                if owners := _sources_with(node, parts[depth:]):
                    return f"{name}: each of the joined data sets has its own; write {' or '.join(owners)}"
                where = ".".join(parts[:depth]) or f"retinai {command}"
                return f"{name}: {where} has no key {hint(part, map(str, node))}"
            node = node[part]
        return None

    return problem


def _sources_with(section: dict[Any, Any], parts: list[str]) -> list[str]:
    """Return the keys of the sources of `data=[A,B]` that have what the whole has not."""
    sources = section.get("sources")
    own = sources if isinstance(sources, dict) else {}
    return [
        f"data.sources.{one}.{'.'.join(parts)}=" for one in own if isinstance(own[one], dict) and parts[0] in own[one]
    ]


def _of_another_model(error: Exception) -> str | None:
    """Return what is wrong where an option has a file for each model that takes it, and none for the one chosen."""
    text = " ".join(str(error).split())
    found = re.search(
        r"In '(\w+)/(\w+)': Could not find '\1/\2/(\w+)'.*?Available options in '[^']*': (.+?) Config", text
    )
    if found is None:
        return None
    group, option, model, others = found.groups()
    return f"{group}={option} is not for model={model}; it goes with model={', '.join(others.split())}"


def _first_lines(error: Exception, arguments: list[str]) -> str:
    cause = f" ({str(error.__cause__).splitlines()[0]})" if error.__cause__ and str(error.__cause__) else ""
    told = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    referring = [argument for argument in arguments if "${" in argument]
    cause += f" (in {', '.join(referring)})" if referring else ""
    return re.sub(r" full_key: (\S+) object_type=\S+", r" (key \1)", told) + cause


@contextmanager
def _argv(command: str, arguments: list[str]) -> Iterator[None]:
    """Hydra reads the command line itself, so it is shown the command's own words."""
    saved = sys.argv
    sys.argv = [f"retinai {command}", *arguments]
    try:
        yield
    finally:
        sys.argv = saved


@contextmanager
def _full_errors() -> Iterator[None]:
    """Make Hydra hand errors on unchanged; how they are shown is decided in one place, the command line."""
    saved = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if saved is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = saved
