"""Teachers: trained networks that answer for the photographs of a batch and never change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retinai.data.loading.fields import SampleField
from retinai.data.loading.views import PhotographView
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.distillation.fields import TeacherField
from retinai.encoders.tuning import hash_tensors
from retinai.errors import CheckpointError
from retinai.losses.divergence import soften
from retinai.modules.classifier import Classifier
from retinai.modules.load import load_module
from retinai.tasks.task import Task, check_same_task


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
        self._view_keys = [_view_key(self.views.index(module.preprocessing)) for module in modules]
        self._own_fields = [
            {field.name: TeacherField(field, module.preprocessing) for field in module.photograph_fields()}
            for module in modules
        ]

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
            batch: With a key for each of `fields`.
            temperature: T, above 0.
        """
        answers = []
        for module, view, fields in zip(self.modules, self._view_keys, self._own_fields, strict=True):
            own = {**batch, "image": batch[view].to(next(module.parameters()).dtype)}
            own.update((name, batch[field.name]) for name, field in fields.items())
            logits = module(*module.network_inputs(own))
            answers.append(soften(module.criterion.class_logits(logits), temperature, self.task.distribution))
        return torch.stack(answers).mean(dim=0)

    def fields(self) -> list[SampleField]:
        """Return what training batches must carry for the teachers: their views and what they read, each once.

        Both are of the photograph as the teacher's own preprocessing prepares it, whatever the student's size.
        """
        views = [PhotographView(_view_key(i), view, splits=("train",)) for i, view in enumerate(self.views)]
        own = [field for fields in self._own_fields for field in fields.values()]
        return [*views, *{field.name: field for field in own}.values()]

    def check_task(self, task: Task) -> None:
        """Refuse teachers of another task or another order of classes.

        Raises:
            CheckpointError: Names both.
        """
        remedy = "choose a teacher.ckpt of the same task and classes"
        check_same_task(self.task, f"teacher {self.paths[0]}", task, "the data", remedy)

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
        return ", ".join(self.words())

    def words(self) -> list[str]:
        """Return backbone, side and loss of each teacher."""
        return [
            f"{m.backbone_name} {m.preprocessing.input_size} px {m.hparams['loss'].get('name')}" for m in self.modules
        ]


def _view_key(number: int) -> str:
    return f"view_{number}"


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
            raise missing_teacher(path)
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


def missing_teacher(path: str | Path) -> CheckpointError:
    """Return the error of a teacher whose file is not there."""
    return CheckpointError(
        f"teacher {path} does not exist; check teacher.ckpt= (a student needs it to be trained and to go on with "
        "resume=true, not to be used)"
    )


def _content_hash(module: Classifier) -> str:
    """Return the SHA-256 of a teacher's weights, which stays when its file is copied."""
    state = module.state_dict()
    return hash_tensors(state, state)
