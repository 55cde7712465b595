"""What each key of the configuration may be: one pydantic model per section, the only place that says so.

`find` gives the model of a section, `problems` says what is wrong with its values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retinai.config.sections import commands, data, learning, losses, networks, paths_and_starts, trainer
from retinai.config.sections.base import Section
from retinai.config.sections.sentences import problems, texts

__all__ = ["COMMANDS", "NAMES", "Section", "find", "problems", "texts"]

# Command -> the keys that stand outside of all sections.
COMMANDS: dict[str, type[Section]] = commands.COMMANDS
# Sections without `_target_`, by their group's name.
_BY_NAME: dict[str, type[Section]] = {
    "augment": learning.Augment,
    "callbacks": learning.Callbacks,
    "consistency": learning.Consistency,
    "demographics": networks.NoDemographics,
    "generator": commands.Generator,
    "guidance": learning.NoGuidance,
    "init": paths_and_starts.Init,
    "log_odds": commands.LogOdds,
    "logger": paths_and_starts.Logger,
    "paths": paths_and_starts.Paths,
    "recommendation": paths_and_starts.Recommendation,
    "sampler": learning.Sampler,
    "teacher": paths_and_starts.Teacher,
    "topology": networks.NoTopology,
    "trainer": trainer.Trainer,
}
_BY_TARGET: dict[str, type[Section]] = {
    target: model
    for models in (data.MODELS, learning.MODELS, losses.MODELS, networks.MODELS)
    for model in models
    for target in model.builds
}
# Keys of a configuration that hold a section.
NAMES = {*_BY_NAME, "attention", "backbone", "data", "demographics", "loss", "model", "optimizer", "prompt",
         "prompts", "scheduler", "topology", "tuning"}  # fmt: skip


def find(command: str, name: str, section: Mapping[str, Any]) -> type[Section] | None:
    """Return the model of a section; None where the user's own class (`_target_`) decides what it takes.

    Args:
        command: The command that composed the section.
        name: The section's name, such as `loss`; empty for the keys that stand outside of all sections.
        section: Its content.
    """
    if not name:
        return COMMANDS[command]
    if name == "model" and command in ("predict", "app", "worklist"):
        return commands.ModelFolder
    if name == "logger" and command != "train":
        return paths_and_starts.MeasuringLogger
    if "_target_" in section:
        return _BY_TARGET.get(str(section["_target_"]))
    return _BY_NAME.get(name)
