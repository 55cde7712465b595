"""A trained module from its checkpoint, without any configuration folder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, TypeVar

from retinai.config.build import TARGET, build
from retinai.encoders.weights import read_checkpoint
from retinai.errors import CheckpointError, ConfigError, UserError
from retinai.modules.base import BaseModule
from retinai.modules.checkpoint import read_metadata
from retinai.modules.grading import GradingModule
from retinai.tasks.task import Task, check_same_task

_REMEDY = "choose a checkpoint or a data set of the same task"

M = TypeVar("M", bound=BaseModule)


def load_module(path: str | Path, task: Task | None = None) -> GradingModule:
    """Rebuild a trained grader from a checkpoint, in evaluation mode on the CPU.

    With weight averaging the averaged weights are the ones loaded.

    Args:
        path: A checkpoint of retinai.
        task: The task that it has to be of; None accepts any.

    Returns:
        The module, ready for `predict_step`.

    Raises:
        CheckpointError: If the file is missing, truncated, hostile, no checkpoint of retinai, of
            another task, of a model that gives no class probabilities, or of another network.
        UserError: If frozen weights that the checkpoint leaves out cannot be had again.
    """
    checkpoint, metadata = _read(path)
    if metadata.get("task") is None:
        raise CheckpointError(
            f"checkpoint {path} is of model {metadata['model']!r}, which gives no class probabilities; choose one of a "
            "model that grades (model=classifier)"
        )
    if task is not None:
        check_same_task(Task.from_dict(metadata["task"]), f"checkpoint {path}", task, "the data", _REMEDY)
    return _restore(path, checkpoint, metadata, GradingModule)


def load_any_module(path: str | Path) -> BaseModule:
    """Rebuild a trained module of whatever kind from a checkpoint; see `load_module`."""
    checkpoint, metadata = _read(path)
    return _restore(path, checkpoint, metadata, GradingModule if metadata.get("task") else BaseModule)


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    checkpoint = read_checkpoint(path)
    return checkpoint, read_metadata(checkpoint, f"checkpoint {path}")


def _restore(path: str | Path, checkpoint: dict[str, Any], metadata: dict[str, Any], kind: type[M]) -> M:
    module = _rebuild(path, metadata, kind)
    try:
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
        module.take_metadata(metadata)
    except (CheckpointError, RuntimeError) as error:  # PyTorch's word for tensors of another kind
        raise CheckpointError(f"{path}: {error}") from error
    return module.eval()


def _rebuild(path: str | Path, metadata: dict[str, Any], kind: type[M]) -> M:
    """Build the module that a checkpoint describes; only modules of `kind` and their own parts can be named there."""
    hparams = copy.deepcopy(metadata["hparams"])
    backbone = hparams.get("backbone")
    own_weights = not metadata.get("frozen") and isinstance(backbone, dict)
    original = backbone.get("weights") if isinstance(backbone, dict) else None
    if own_weights:
        backbone["weights"] = "none"  # every tensor is in the checkpoint
    try:
        module = build({**hparams, TARGET: metadata["target"]}, kind)
    except Exception as error:  # whatever a network makes of arguments that retinai would not have written
        if isinstance(error, UserError) and not isinstance(error, ConfigError):
            raise
        reason = " ".join(str(error).split())[:500] or type(error).__name__
        raise CheckpointError(
            f"checkpoint {path} describes a module that cannot be built: {reason}; use one that "
            "retinai wrote, with this version"
        ) from error
    if own_weights:
        module.hparams["backbone"]["weights"] = original
    return module
