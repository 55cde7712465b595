"""The trained classifiers whose grades a hybrid writes after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retinai.data.loading.fields import SampleField
from retinai.data.loading.views import PhotographView
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.encoders.tuning import hash_tensors
from retinai.errors import CheckpointError, ConfigError
from retinai.modules.grading import GradingModule
from retinai.modules.load import load_module
from retinai.tasks.task import Task, check_same_task

_LEAST = 1e-12  # a probability below this is taken for it, so that its logarithm is finite
_REMEDY = "choose a classifier that was trained on the same task and reads photographs alone"


class TrainedGraders:
    """One or several trained graders, frozen and in evaluation mode; of several the mean probability counts.

    No `nn.Module`, so that they are no part of the language model's weights, optimiser or training mode.

    Args:
        paths: Their checkpoints, at least one.
        task: The task that they have to be of.

    Attributes:
        decision_rule: Theirs.
        sha256: Of the weights of each.

    Raises:
        CheckpointError: If a checkpoint is missing, cannot be used, or is of another task.
        ConfigError: If one is a language model itself or reads more than the photograph, or two decide differently.
    """

    def __init__(self, paths: Sequence[str], task: Task) -> None:
        self.paths = list(paths)
        self.modules = [_load(path, task) for path in paths]
        rules = {module.decision_rule for module in self.modules}
        if len(rules) > 1:
            raise ConfigError([f"the graders {', '.join(paths)} decide differently ({', '.join(sorted(rules))}); "
                               "choose some that were trained with the same loss"])  # fmt: skip
        self.decision_rule = rules.pop()
        states = [module.network.state_dict() for module in self.modules]
        self.sha256 = [hash_tensors(state, state) for state in states]
        self._views: list[Preprocessing] = list(dict.fromkeys(module.preprocessing for module in self.modules))

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainedGraders:
        """Return itself: weight averaging copies the module, and what never changes needs no copy."""
        return self

    def fields(self) -> list[SampleField]:
        """Return the photograph as each of them wants to see it, wherever something is predicted."""
        parts = ("val", "test", "predict")
        return [PhotographView(_key(number), view, splits=parts) for number, view in enumerate(self._views)]

    def inputs(self, batch: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Return what `log_probabilities` takes of a batch."""
        return tuple(batch[_key(number)] for number in range(len(self._views)))

    @torch.no_grad()
    def log_probabilities(self, views: Sequence[Tensor]) -> Tensor:
        """Return the logarithm of the mean of their probabilities, float32 (B, C), from `inputs`.

        They compute in float32, as alone, whatever the precision of the training around them.
        """
        means = []
        with torch.autocast(views[0].device.type, enabled=False):
            for module in self.modules:
                view = views[self._views.index(module.preprocessing)].float()
                means.append(module.to(view.device).predict_probabilities(view).float())
        return torch.stack(means).mean(dim=0).clamp_min(_LEAST).log()

    def records(self) -> list[dict[str, Any]]:
        """Return path, hash and backbone of each, as plain values."""
        rows = zip(self.paths, self.sha256, self.modules, strict=True)
        return [{"ckpt": path, "sha256": sha256, "backbone": m.backbone_name} for path, sha256, m in rows]

    def check_same(self, known: Any) -> None:
        """Refuse other graders than those of a training.

        Args:
            known: Their hashes.

        Raises:
            CheckpointError: Names the first that differs.
        """
        hashes = [str(value) for value in known] if isinstance(known, list) else []
        if len(hashes) != len(self.sha256):
            raise CheckpointError(f"the training had {len(hashes)} graders, and {len(self.sha256)} are named here")
        for path, ours, theirs in zip(self.paths, self.sha256, hashes, strict=True):
            if ours != theirs:
                raise CheckpointError(
                    f"the grader {path} is another one than in the training (hashes {theirs[:12]} and {ours[:12]}); "
                    "put the file of the training back in its place"
                )


def _load(path: str, task: Task) -> GradingModule:
    file = Path(path).expanduser()
    if file.is_dir():
        raise CheckpointError(
            f"the grader model.grader={path} is a folder; give a checkpoint, such as RUN/checkpoints/best.ckpt"
        )
    if not file.is_file():
        raise CheckpointError(
            f"the grader model.grader={path} is not there; a hybrid's checkpoint does not hold the classifier that "
            "grades, so give its checkpoint, or put the file back in its place"
        )
    module = load_module(file)
    check_same_task(module.task, f"model.grader={path}", task, "the data", _REMEDY)
    if not module.is_tensor_graph:
        raise ConfigError([f"model.grader={path} is of model={module.model_name}, a language model; {_REMEDY}"])
    if module.fields():
        names = ", ".join(field.name for field in module.fields())
        raise ConfigError([f"model.grader={path} reads {names} beside the photograph; {_REMEDY}"])
    return module.requires_grad_(False).eval()


def _key(number: int) -> str:
    return f"grader_photograph_{number}"
