"""What the command line chooses takes precedence over what an experiment set for another choice.

An experiment (`+experiment=`) chooses options and sets keys inside them: `tuning=partial` with `tuning.blocks: 5`.
Hydra merges its keys over whatever option is chosen in the end, so with `tuning=full` on the command line `blocks`
would stay behind, in an option that does not know it. Here such keys are taken out, and said:

- A group whose option differs from the experiment's own loses the keys that the new option's file does not have. Keys
  that both have keep the experiment's value (`backbone.input_size`, `optimizer.lr`). Augmentations and prompts, which
  are content rather than settings, are replaced as a whole.
- An option that speaks of several sections (`phase=linear_probe`, `model=llava`) brings its choices and values, over
  those of the experiment.
- What the command line itself sets stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from retinai.config.paths import conf_dir, group_options, read_conf

# Options that are content as a whole: parts of two of them make no third.
_WHOLE = ("augment", "prompt")
# Options that may speak of several sections, in the order in which they are merged.
_PHASE_DEFAULTS = ("phase_defaults", "phase_defaults@_global_")  # of a model, of a backbone
_WIDE = ("model", "phase", *_PHASE_DEFAULTS)
_STARTS = ("experiment", "init")


@dataclass(frozen=True)
class _Words:
    """The command line: options of groups, and the keys that it sets or takes out."""

    options: dict[str, str]
    keys: tuple[str, ...]

    def sets(self, key: str) -> bool:
        """Return whether a key, one above it or one below it is set."""
        return any(f"{key}.".startswith(f"{k}.") or f"{k}.".startswith(f"{key}.") for k in self.keys)


def settle(command: str, cfg: DictConfig, words: list[str]) -> tuple[DictConfig, list[str]]:
    """Let the options of the command line take the place of an experiment's, with their own keys.

    Args:
        command: Name of the command that composed `cfg`.
        cfg: The composed configuration; it is changed, or replaced by another.
        words: The overrides that it was composed with.

    Returns:
        The configuration, and a sentence for each thing that was taken out or changed.
    """
    line = _read(command, words)
    if "experiment" not in line.options or not set(line.options) - set(_STARTS):
        return cfg, []
    before = _choices(command, [w for w in words if w.lstrip("+").partition("=")[0] in _STARTS])
    after = _choices(command, words)
    notes: list[str] = []
    more = [w for group in _changed(_WIDE, before, after) for w in brought(group, after[group])]
    more = [word for word in more if word.partition("=")[0] not in line.options]
    if more:
        cfg, after = _compose(command, [*words, *more]), _choices(command, [*words, *more])
        notes += [f"{', '.join(more)}: brought by what the command line chooses, instead of the experiment's"]
    notes += _set_values(cfg, [(g, after[g]) for g in _changed(_WIDE, before, after)], line)
    for group in _changed([g for g in after if g not in (*_STARTS, "phase", *_PHASE_DEFAULTS)], before, after):
        taken = _take_out(cfg, group, after[group], line)
        if taken:
            instead = f"{group}={after[group]} was chosen instead of the experiment's {before.get(group)}"
            notes.append(f"{instead}, so its {', '.join(taken)} {'is' if len(taken) == 1 else 'are'} left out")
    return cfg, notes


def _read(command: str, words: list[str]) -> _Words:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    groups = {*group_options(command), "phase_defaults"}
    options: dict[str, str] = {}
    keys: list[str] = []
    for override in OverridesParser.create().parse_overrides([w for w in words if not w.startswith("-")]):
        name = override.key_or_group
        if override.package is not None:
            continue  # a source of data=[A,B], or another section that the user puts somewhere
        if name in groups and not override.is_delete() and isinstance(override.value(), str):
            options[name] = str(override.value())
        elif "/" not in name:
            keys.append(name)
    return _Words(options, tuple(keys))


def _changed(groups: Any, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    return (g for g in groups if after.get(g) and after[g] != before.get(g))


def _compose(command: str, words: list[str], with_hydra: bool = False) -> DictConfig:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    # Inside of a command Hydra is there already; to begin it anew would end the command's own.
    there = GlobalHydra.instance().is_initialized()
    with nullcontext() if there else hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(command, words, return_hydra_config=with_hydra)


def _choices(command: str, words: list[str]) -> dict[str, str]:
    """Return the option of each group that words compose to."""
    chosen = _compose(command, words, with_hydra=True).hydra.runtime.choices
    return {str(g): "" if o is None else str(o) for g, o in chosen.items() if not str(g).startswith("hydra/")}


def load_option(group: str, option: str) -> tuple[dict[str, Any], bool]:
    """Return the content of an option's file with those that it is based on, and whether it is of several sections."""
    path = _file(group, option)
    if not path.is_file():
        return {}, False
    text = path.read_text(encoding="utf-8")
    content = read_conf(path)
    merged: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            merged = merge(merged, load_option(group, entry)[0])
    return merge(merged, content) if merged else content, "@package _global_" in text


def _file(group: str, option: str) -> Path:
    """Return the file of an option; what follows an @ in a group's name says where its content goes."""
    return conf_dir() / group.partition("@")[0] / f"{option}.yaml"


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two contents of YAML files as one; where both have a value, that of `above` holds."""
    return OmegaConf.to_container(OmegaConf.merge(dict(below), dict(above)))  # type: ignore[return-value]


def brought(group: str, option: str) -> list[str]:
    """Return the options that an option of several sections chooses for other groups, as words (`loss=answer`)."""
    path = _file(group, option)
    content = read_conf(path) if path.is_file() else {}
    chosen = [entry for entry in content.get("defaults", []) if isinstance(entry, dict)]
    pairs = {k.split()[-1].lstrip("/"): v for entry in chosen for k, v in entry.items() if k.startswith("override ")}
    return [f"{name}={value}" for name, value in pairs.items()]


def _set_values(cfg: DictConfig, wide: list[tuple[str, str]], line: _Words) -> list[str]:
    """Set what wide options say of sections, over an experiment's values; return what changed."""
    changed: dict[str, Any] = {}
    for group, option in wide:
        content, several = load_option(group, option)
        for key, value in leaves(content) if several else ():
            if not line.sets(key) and OmegaConf.select(cfg, key) != value:
                with open_dict(cfg):
                    OmegaConf.update(cfg, key, value)
                changed[key] = value
    told = ", ".join(f"{key}={value}" for key, value in changed.items())
    return [f"{told}: as {', '.join(f'{g}={o}' for g, o in wide)} says, instead of the experiment"] if told else []


def _take_out(cfg: DictConfig, group: str, option: str, line: _Words) -> list[str]:
    """Take keys out of a section that its option does not have; return them."""
    content, several = load_option(group, option)
    own = content.get(group, {}) if several else content
    section = cfg.get(group)
    if not isinstance(section, DictConfig) or not own:
        return []
    if group in _WHOLE:
        return _replace(cfg, group, own, line)
    own = {**own, **_of_folder(group, option, section)}
    taken = [key for key in _foreign(section, own, group) if not line.sets(key)]
    for key in taken:
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, parent)
        with open_dict(node):
            del node[name]
    return taken


def _of_folder(group: str, option: str, section: DictConfig) -> dict[str, Any]:
    """Return the keys of the file below an option's own that was chosen by the model (`tuning/lora/classifier`)."""
    for path in sorted((conf_dir() / group / option).glob("*.yaml")):
        content, _ = load_option(f"{group}/{option}", path.stem)
        if content.get("_target_") == section.get("_target_"):
            return content
    return {}


def _replace(cfg: DictConfig, group: str, own: Mapping[str, Any], line: _Words) -> list[str]:
    taken = []
    with open_dict(cfg):
        for key in list(map(str, cfg[group])):
            name = f"{group}.{key}"
            if line.sets(name) or (key in own and cfg[group][key] == OmegaConf.create({"_": own[key]})["_"]):
                continue
            taken.append(name)
            if key in own:
                cfg[group][key] = own[key]
            else:
                del cfg[group][key]
    return taken


def _foreign(section: DictConfig, own: Mapping[str, Any], where: str) -> Iterator[str]:
    for key in map(str, section):
        name, node = f"{where}.{key}", section._get_node(key)
        if key not in own:
            yield name
        elif isinstance(node, DictConfig) and isinstance(own[key], Mapping):
            yield from _foreign(node, own[key], name)


def leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield key and value of what a content sets, with dots for keys inside of keys."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def words_of(group: str, option: str) -> list[str]:
    """Return what an option of several sections chooses and sets outside of its own section, as words."""
    content, several = load_option(group, option)
    if not several:
        return []
    values = [f"{k}={shown(v)}" for k, v in leaves(content) if k != group and not k.startswith(f"{group}.")]
    return [*brought(group, option), *values]


def shown(value: Any) -> str:
    """Return a value as one writes it on the command line."""
    import yaml

    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def phase_defaults() -> list[tuple[str, str]]:
    """Return each model or backbone, and phase, for which `conf/phase_defaults` says more than the phase itself."""
    stems = sorted(path.stem for path in (conf_dir() / "phase_defaults").glob("*.yaml"))
    phases = sorted(path.stem for path in (conf_dir() / "phase").glob("*.yaml"))
    return [(stem.removesuffix(f"_{phase}"), phase) for stem in stems for phase in phases if stem.endswith(f"_{phase}")]
