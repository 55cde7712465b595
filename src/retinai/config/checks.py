"""Checks of a composed configuration before anything is read or built: all problems at once.

What a single value may be is declared in `retinai.config.sections`; here a configuration is held against those
declarations, against the signatures of what it builds, and its sections against each other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from retinai.config import model_sections, sections
from retinai.config.build import TARGET, binding_problems, build, hint, resolve_target
from retinai.config.paths import conf_dir, group_options, groups_of, read_conf
from retinai.errors import ConfigError

# Groups that a command can do without; any other that it chooses from must have an option.
_OPTIONAL = {"augment", "consistency", "demographics", "guidance", "prompt", "sampler", "topology"}


def check(command: str, cfg: DictConfig) -> None:
    """Refuse unknown keys, values that are not allowed and combinations that make no sense.

    A whole number that stands where a text or a path is meant (`run_dir=2024`) becomes text in `cfg`.

    Args:
        command: Name of the command that composed `cfg`.
        cfg: The composed configuration.

    Raises:
        ConfigError: With one sentence for each problem.
    """
    missing = model_sections.missing_sections(command, cfg)
    values, problems = _plain_values(cfg, list(missing))
    # A group that was taken away is told as such.
    problems += [sentence for name, sentence in missing.items() if name not in groups_of(command)]
    problems += [*_unknown_top_level(command, cfg), *_missing(cfg, list(missing)), *_without_option(command, values)]
    own = sections.find(command, "", {})
    parts = {"": {key: value for key, value in values.items() if own and key in own.model_fields}}
    parts |= {key: value for key, value in values.items() if isinstance(value, dict) and key not in parts[""]}
    parts |= {f"data.sources.{name}": part for name, part in _joined_data(values) if isinstance(part, dict)}
    texts: dict[str, str] = {}
    for name, part in parts.items():
        model = sections.find(command, name, part)
        faults = sections.problems(model, part, name) if model else []
        faults += section_problems(name, part) if TARGET in part else []
        # What is wrong in itself is not built, so that each fault is told once.
        problems += faults or _refusals(name, part)
        if model and not faults:
            texts |= {f"{name}.{k}" if name else k: text for k, text in sections.texts(model, part).items()}
    problems += _senseless_combinations(command, cfg)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    with open_dict(cfg):
        for key, text in texts.items():
            OmegaConf.update(cfg, key, text)


def _plain_values(cfg: DictConfig, absent: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration as plain values without those that are missing, and what cannot be resolved.

    Args:
        cfg: The composed configuration.
        absent: Sections that the model refers to and that are not there, which is told elsewhere.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for key in map(str, cfg):
        if OmegaConf.is_missing(cfg, key):
            continue
        try:
            node = cfg[key]
            whole = OmegaConf.is_config(node)
            resolve = not (key == "model" and absent)
            values[key] = OmegaConf.to_container(node, resolve=resolve, throw_on_missing=False) if whole else node
        except OmegaConfBaseException as error:
            problems.append(f"{key}: {str(error).splitlines()[0]}")
    for section in values.values():
        for key in [k for k, v in section.items() if v == "???"] if isinstance(section, dict) else []:
            del section[key]  # told as missing
    return values, problems


def _joined_data(values: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Return the sections of `data=[A,B]` by their names."""
    data = values.get("data")
    sources = data.get("sources") if isinstance(data, dict) else None
    return sources.items() if isinstance(sources, dict) else ()


def _without_option(command: str, values: dict[str, Any]) -> Iterator[str]:
    """Tell the groups whose option was taken away, and the sections that are no sections."""
    options = group_options(command)
    for group, default in groups_of(command).items():
        if default and group not in _OPTIONAL and values.get(group) is None:
            valid = ", ".join(options.get(group, ()))
            yield f"{group}=null is no option, and {command} cannot do without; choose one (valid: {valid})"
    for name, value in values.items():
        if name in sections.NAMES and value is not None and not isinstance(value, dict):
            yield f"{name}={value} is no section of keys and values; set {name}.KEY=VALUE"


def _refusals(name: str, section: dict[str, Any]) -> list[str]:
    """Return what a section's own class says against its values, where building it costs nothing."""
    try:
        if name == "augment":
            from retinai.data.loading.augmentation import build_augmentation

            build_augmentation(section)
        elif TARGET in section:
            target: Any = resolve_target(section, trusted=True)
            if hasattr(target, "read_section"):
                target.read_section(section)
            elif is_dataclass(target) or name == "prompt":
                build(section, object, trusted=True)
    except ConfigError as error:
        return error.problems
    return []


def _unknown_top_level(command: str, cfg: DictConfig) -> Iterable[str]:
    own = read_conf(conf_dir() / f"{command}.yaml")
    valid = {*own, *groups_of(command), "debug"} - {"defaults", "hydra", "common"}
    valid |= {"init"} if command == "train" else set()
    unknown = [str(key) for key in cfg if key not in valid]
    if "experiment" in unknown:  # Hydra puts there what stands in a file without a package
        return [
            "the file of +experiment= has to begin with the line '# @package _global_' and to hold keys and values; as "
            "it is, it sets nothing"
        ]
    return [f"retinai {command} does not know {hint(key, valid)}" for key in unknown]


def _missing(cfg: DictConfig, absent: list[str]) -> Iterable[str]:
    whole = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "model"]) if absent else cfg
    return [f"{key}= is needed and was not given" for key in sorted(OmegaConf.missing_keys(whole))]


def section_problems(name: str, section: dict[str, Any]) -> list[str]:
    """Return what is wrong with one configuration section against the signature of what it builds.

    Args:
        name: Group name, such as `loss`.
        section: The section with its `_target_`.
    """
    try:
        target = resolve_target(section, trusted=True)
        inspect.signature(target)
    except ConfigError as error:
        return error.problems
    except (TypeError, ValueError):
        return [f"{name}: {section[TARGET]} has no signature that shows which keys it takes; name another class"]
    # A class says itself which arguments do not come from its section.
    given = dict.fromkeys(getattr(target, "given", ()))
    apart = {TARGET, *(["preprocess", *(section.get("fields") or {})] if name.startswith("data") else [])}
    own = {key: value for key, value in section.items() if key not in apart}
    problems = [f"{name}: {p}" for p in binding_problems(target, own | given, str(section[TARGET]).rpartition(".")[2])]
    return [*problems, *_field_problems(section)] if name == "data" else problems


def _field_problems(data: dict[str, Any]) -> Iterator[str]:
    """Tell what is wrong with the fields of a data section; keys of their names switch them on and off."""
    for name, value in (data.get("fields") or {}).items():
        if not isinstance(data.get(name, True), bool):
            yield f"data.{name}={data[name]} switches data.fields.{name}; it must be true or false"
        several = isinstance(value, dict) and TARGET not in value
        for key, spec in value.items() if several else [("", value)]:
            where = f"data.fields.{name}" + (f".{key}" if key else "")
            if isinstance(spec, dict) and TARGET in spec:
                yield from section_problems(where, spec)
            elif spec is not None:
                yield f"{where}={spec} must be a mapping with {TARGET}, which names the class of a field"


def _senseless_combinations(command: str, cfg: DictConfig) -> Iterable[str]:
    if cfg.get("resume") and not cfg.get("run_dir"):
        yield "resume=true needs run_dir= to say which run goes on"
    yield from _double_balancing(cfg)
    yield from model_sections.parts_without_place(command, cfg)
    for name in map(str, cfg):
        # Classes say what does not go with them, so that no kind of model is known here.
        problems = getattr(_class_of(cfg, name), "config_problems", None)
        if problems is not None:
            yield from problems(cfg)


def _double_balancing(cfg: DictConfig) -> Iterable[str]:
    """A weighted sampler and class weights in the loss would correct the imbalance twice."""
    if cfg.get("allow_double_balancing") or OmegaConf.select(cfg, "sampler.name") != "weighted":
        return
    loss = _class_of(cfg, "loss")
    if getattr(loss, "balances_classes", False):
        yield (
            f"sampler=weighted and loss {getattr(loss, '__name__', loss)} both balance the classes, which corrects "
            "twice; choose one of them, or set allow_double_balancing=true"
        )


def _class_of(cfg: DictConfig, name: str) -> Callable[..., Any] | None:
    """Return what a section builds; None where that is not known, which is told elsewhere."""
    section = cfg._get_node(name)
    if not isinstance(section, DictConfig) or section._is_none() or section._is_missing():
        return None
    target = OmegaConf.select(section, TARGET)
    try:
        return None if target is None else resolve_target({TARGET: target}, trusted=True)
    except ConfigError:
        return None
