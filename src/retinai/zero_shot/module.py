"""A grader that was never trained on the task: photographs are compared with what the classes look like in words."""

from __future__ import annotations

from typing import Any

from torch import nn

from retinai.config.build import settings_from
from retinai.modules.grading import GradingModule
from retinai.tasks.task import Task
from retinai.zero_shot.network import ImageTextNetwork
from retinai.zero_shot.prompts import ClassPrompts

_LOSS = {"_target_": "retinai.losses.cross_entropy.CrossEntropy", "name": "cross_entropy"}


class ZeroShotGrader(GradingModule):
    """Grades by text prompts; the probabilities are the softmax over the classes.

    Args:
        task: `Task.to_dict()` of the data.
        backbone: The `backbone` section, see `ImageTextNetwork`.
        prompts: The `prompts` section.
        preprocessing: `Preprocessing.to_dict()`.

    Raises:
        ConfigError: If sections do not fit the task or each other.
        UserError: If the network cannot be loaded.
    """

    def __init__(
        self, *, task: dict[str, Any], backbone: dict[str, Any], prompts: dict[str, Any], preprocessing: dict[str, Any]
    ) -> None:
        _prompts(prompts).sentences(Task.from_dict(task))  # whether they suit each other comes before anything is built
        super().__init__(
            task=task, preprocessing=preprocessing, class_counts=[1] * len(task["classes"]), loss=_LOSS, optimizer={},
            scheduler={}, name="zero_shot",
        )  # fmt: skip

    def build_network(self) -> nn.Module:
        """Return the network with the vectors of the classes."""
        sentences = _prompts(self.hparams["prompts"]).sentences(self.task)
        return ImageTextNetwork(self.hparams["backbone"], sentences)


def _prompts(section: dict[str, Any]) -> ClassPrompts:
    return settings_from(dict(section), ClassPrompts)
