"""Which sections a model takes: the references in its own section, such as `loss: ${loss}`.

A model's YAML says them, the composed configuration shows them, and the `config.yaml` of a run keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retinai.config.build import TARGET
from retinai.config.choices import load_option
from retinai.config.paths import conf_dir, group_options

_REFERENCE = re.compile(r"\$\{(\w+)\}")
# The preprocessing follows from it, whatever the model is.
_ALWAYS_USED = "backbone"


def is_reference(value: Any) -> bool:
    """Return whether a value of a section is the name of another section."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def references(section: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each key of a section that refers to another section, with dots for keys inside of keys, and that section.

    Args:
        section: A `model` section whose references are not resolved.
        prefix: Of the keys.
    """
    for key, value in section.items() if isinstance(section, Mapping) else ():
        found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if found:
            yield f"{prefix}{key}", found[1]
        else:
            yield from references(value, f"{prefix}{key}.")


def takers() -> dict[str, list[str]]:
    """Return which models of `conf/model` take a section, by the section's name."""
    found: dict[str, list[str]] = {}
    for path in sorted((conf_dir() / "model").glob("*.yaml")):
        content, several = load_option("model", path.stem)
        for _, name in references(content["model"] if several else content):
            found.setdefault(name, []).append(path.stem)
    return found


def taken(cfg: DictConfig) -> list[tuple[str, str]]:
    """Return the references of the `model` section of a composed configuration; none where there is no model."""
    node = cfg._get_node("model") if "model" in cfg else None
    if not isinstance(node, DictConfig) or node._is_none() or TARGET not in node:
        return []
    return list(references(OmegaConf.to_container(node, resolve=False)))


def missing_sections(command: str, cfg: DictConfig) -> dict[str, str]:
    """Return a sentence for each section that the model takes and the command does not have, by the section's name."""
    return {
        name: f"model={_name(cfg)} takes {name}, which retinai {command} does not have; choose another model"
        for _, name in taken(cfg)
        if name not in cfg
    }


def parts_without_place(command: str, cfg: DictConfig) -> Iterator[str]:
    """Yield a sentence for each part that was chosen instead of `none` and that other models take, but not this one."""
    own = {name for _, name in taken(cfg)}
    if not own:
        return
    options = group_options(command)
    for group in takers():
        option = OmegaConf.select(cfg, f"{group}.name")
        if group not in own and "none" in options.get(group, ()) and option not in (None, "none"):
            yield f"model={_name(cfg)} takes no {group}={option}; set {group}=none"


def unused_words(cfg: DictConfig, words: Iterable[str]) -> list[str]:
    """Return a sentence for each word that sets a section which only other models take.

    Args:
        cfg: The composed configuration.
        words: The overrides of the command line.
    """
    own = {_ALWAYS_USED, *(name for _, name in taken(cfg))}
    notes = []
    for group, models in takers().items():
        typed = [word.partition("=")[0].lstrip("+") for word in words if not word.endswith("=none")]
        for key in [key for key in typed if group not in own and key.partition(".")[0] == group]:
            others = " and ".join(f"model={model}" for model in models)
            notes.append(f"{key} is not used: model={_name(cfg)} takes no {group} ({others} {_do(models)})")
    return notes


def as_written(cfg: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain, resolved values, the references of the `model` section kept as they are."""
    content: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    for key, name in taken(cfg):
        node: Any = content["model"]
        *above, last = key.split(".")
        for part in above:
            node = node[part]
        node[last] = f"${{{name}}}"
    return content


def _name(cfg: DictConfig) -> str:
    return str(OmegaConf.select(cfg, "model.name"))


def _do(models: list[str]) -> str:
    return "do" if len(models) > 1 else "does"
