"""Teachers: trained networks that answer for the photographs of a batch and never change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retinai.data.preprocessing import Preprocessing
from retinai.data.task import Task
from retinai.errors import CheckpointError
from retinai.losses.distillation import soften
from retinai.modules.classifier import Classifier
from retinai.modules.load import load_module


class Teachers:
    """One or several trained graders, frozen and in evaluation mode.

    No `nn.Module` on purpose: as an attribute of a module they are no part of its parameters, state dict,
    optimiser, DDP buckets or training mode.

    Args:
        modules: The graders, all of one task.
        paths: Their checkpoints, for messages and records.

    Attributes:
        views: How they want to see the photographs, each way once.
    """

    def __init__(self, modules: Sequence[Classifier], paths: Sequence[str | Path]) -> None:
        self.modules = [module.requires_grad_(False).eval() for module in modules]
        self.paths = [str(path) for path in paths]
        self.task: Task = modules[0].task
        self.views: list[Preprocessing] = list(dict.fromkeys(module.preprocessing for module in modules))

    def __deepcopy__(self, memo: dict[int, Any]) -> Teachers:
        """Return itself: weight averaging copies the student, and what never changes needs no copy."""
        return self

    def to(self, device: torch.device | str) -> Teachers:
        """Move to a device."""
        for module in self.modules:
            module.to(device)
        return self

    @torch.no_grad()
    def probabilities(self, batch: dict[str, Any], temperature: float) -> Tensor:
        """Return the mean of the teachers' probabilities at a temperature, shape (B, C).

        Probabilities are averaged and not logits: learning from their mean has the gradient of learning from
        each teacher in equal parts (KL to a mean and mean of the KLs differ by a constant), it does not care
        whether a teacher's logits are large, and one that rules a grade out does not overrule the others.

        Args:
            batch: With `view_<i>` for each of `views`.
            temperature: T, above 0.
        """
        answers = []
        for module in self.modules:
            images = batch[f"view_{self.views.index(module.preprocessing)}"]
            logits = module(images.to(next(module.parameters()).dtype))
            answers.append(soften(module.objective.class_logits(logits), temperature, self.task.kind))
        return torch.stack(answers).mean(dim=0)

    def check_task(self, task: Task) -> None:
        """Refuse teachers of another task or another order of classes.

        Raises:
            CheckpointError: Names both.
        """
        if self.task == task:
            return
        raise CheckpointError(
            f"teacher {self.paths[0]} is of task {self.task.name!r} ({', '.join(self.task.classes)}), the data is of "
            f"task {task.name!r} ({', '.join(task.classes)}); choose a teacher.ckpt of the same task and classes"
        )

    def records(self) -> list[dict[str, Any]]:
        """Return what a checkpoint tells of its teachers: path, content hash, backbone, side, loss."""
        return [
            {
                "path": path,
                "sha256": _content_hash(module),
                "backbone": module.backbone_name,
                "input_size": module.preprocessing.input_size,
                "loss": str(module.hparams["loss"].get("name")),
            }
            for path, module in zip(self.paths, self.modules, strict=True)
        ]

    def describe(self) -> str:
        """Return what the teachers are, without their paths, so that teachers of several folds read the same."""
        words = [f"{r['backbone']} {r['input_size']} px {r['loss']}" for r in self.records()]
        return ", ".join(words)


def checkpoint_paths(section: dict[str, Any] | None) -> list[str]:
    """Return the checkpoints that a `teacher` section names: none, one, or several."""
    given = (section or {}).get("ckpt")
    if not given:
        return []
    return [str(given)] if isinstance(given, str | Path) else [str(path) for path in given]


def load_teachers(paths: Sequence[str | Path]) -> Teachers:
    """Load trained graders as teachers.

    Args:
        paths: Checkpoints of retinai, at least one.

    Raises:
        CheckpointError: If one is missing, unusable, no classifier, or of another task than the first.
    """
    modules: list[Classifier] = []
    for path in paths:
        if not Path(path).is_file():
            raise CheckpointError(
                f"teacher {path} does not exist; a student is trained, and goes on with resume=true, with its teacher at "
                "hand (only its use needs none): check teacher.ckpt="
            )
        module = load_module(path)
        if not isinstance(module, Classifier):
            raise CheckpointError(
                f"teacher {path} is of model={module.model_name}; teacher.ckpt= takes those of model=classifier or "
                "model=distiller"
            )
        modules.append(module)
    teachers = Teachers(modules, paths)
    for path, module in zip(teachers.paths, modules, strict=True):
        Teachers([module], [path]).check_task(teachers.task)
    return teachers


def _content_hash(module: Classifier) -> str:
    """Return the SHA-256 of a teacher's weights, which stays when its file is copied."""
    from retinai.models.tuning import hash_tensors

    state = module.state_dict()
    return hash_tensors(state, state) if state else hashlib.sha256().hexdigest()
