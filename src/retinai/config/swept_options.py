"""What is said of a key that only options with several values have: `-m +experiment=A,B data.split=patient`.

Before the jobs of a sweep are composed, Hydra composes the words that have one value, without those that have several.
So a key of an option that only an experiment of the sweep chooses is unknown there, although every job would have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from retinai.config.paths import conf_dir


def options_of(words: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the words that choose one valid option of a group.

    Args:
        words: The command line.
        groups: Group -> its options.
    """
    pairs = [(word, *word.lstrip("+").partition("=")[::2]) for word in words]
    return [word for word, name, value in pairs if value in groups.get(name.partition("@")[0], ())]


def how_to_share(command: str, words: Sequence[str], groups: Mapping[str, Sequence[str]], key: str, value: str) -> str:
    """Return what makes a key known to all jobs of a sweep.

    Args:
        command: Name of the command.
        words: The command line.
        groups: Group -> its options.
        key: A key on it that the words with one value do not bring, such as `data.split`.
        value: What it is set to.

    Returns:
        The end of a sentence; empty if no option with several values brings the key.
    """
    from hydra.errors import HydraException

    shared, section = options_of(words, groups), key.partition(".")[0]
    for word, group, options in _swept(words, groups):
        try:
            base = _choices(_composed(command, shared)).get(section)
            cfgs = [_composed(command, [*shared, f"{word}={option}"]) for option in options]
        except HydraException:
            continue
        have = [OmegaConf.select(cfg, key.rpartition(".")[0]) for cfg in cfgs]
        known = [isinstance(node, DictConfig) and key.rpartition(".")[2] in node for node in have]
        chosen = {str(_choices(cfg).get(section)) for cfg in cfgs}
        if not any(known):
            continue
        why = f"; {word}= has several values, and the words beside it are first checked without it ({section}={base}): "
        if all(known) and len(chosen) == 1 and group != section:
            return f"{why}add {section}={chosen.pop()}, as each of them chooses"
        return f"{why}write ++{key}={value}, which is checked with each of them"
    return ""


def _swept(words: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[tuple[str, str, list[str]]]:
    """Return of each word that has several valid options: how the group is written, the group, the options."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep
    from hydra.errors import HydraException

    found = []
    for word in words:
        name, _, _ = word.partition("=")
        group = name.lstrip("+")
        if group not in groups:
            continue
        try:
            value = OverridesParser.create().parse_override(word).value()
        except HydraException:
            continue
        options = [str(option) for option in value.list] if isinstance(value, ChoiceSweep) else []
        if options and set(options) <= set(groups[group]):
            found.append((name, group, options))
    return found


def _composed(command: str, words: list[str]) -> DictConfig:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(command, words, return_hydra_config=True)


def _choices(cfg: DictConfig) -> DictConfig:
    return cfg.hydra.runtime.choices
