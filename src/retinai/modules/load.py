"""A trained module from its checkpoint, without any configuration folder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from retinai.config.build import TARGET, build
from retinai.encoders.weights import read_checkpoint
from retinai.errors import CheckpointError, ConfigError, UserError
from retinai.modules.base import FundusModule
from retinai.modules.checkpoint import read_metadata
from retinai.tasks.task import Task, check_same_task

_REMEDY = "choose a checkpoint or a data set of the same task"


def load_module(path: str | Path, task: Task | None = None) -> FundusModule:
    """Rebuild a trained module from a checkpoint, in evaluation mode on the CPU.

    With weight averaging the averaged weights are the ones loaded.

    Args:
        path: A checkpoint of retinai.
        task: The task that it has to be of; None accepts any.

    Returns:
        The module, ready for `predict_step`.

    Raises:
        CheckpointError: If the file is missing, truncated, hostile, no checkpoint of retinai, of
            another task or of another network.
        UserError: If frozen weights that the checkpoint leaves out cannot be had again.
    """
    checkpoint = read_checkpoint(path)
    metadata = read_metadata(checkpoint, f"checkpoint {path}")
    if task is not None:
        check_same_task(Task.from_dict(metadata["task"]), f"checkpoint {path}", task, "the data", _REMEDY)
    module = _rebuild(path, metadata)
    try:
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
    except (CheckpointError, RuntimeError) as error:  # PyTorch's word for tensors of another kind
        raise CheckpointError(f"{path}: {error}") from error
    module.data_config = metadata["data"]
    module.split = metadata.get("split")
    module.calibration = metadata.get("calibration")
    module.model_name = metadata["model"]
    return module.eval()


def _rebuild(path: str | Path, metadata: dict[str, Any]) -> FundusModule:
    """Build the module that a checkpoint describes; only modules of retinai and their own parts can be named there."""
    hparams = copy.deepcopy(metadata["hparams"])
    backbone = hparams.get("backbone")
    own_weights = not metadata.get("frozen") and isinstance(backbone, dict)
    original = backbone.get("weights") if isinstance(backbone, dict) else None
    if own_weights:
        backbone["weights"] = "none"  # every tensor is in the checkpoint
    try:
        module = build({**hparams, TARGET: metadata["target"]}, FundusModule)
    except Exception as error:  # whatever a network makes of arguments that retinai would not have written
        if isinstance(error, UserError) and not isinstance(error, ConfigError):
            raise
        reason = " ".join(str(error).split())[:500] or type(error).__name__
        raise CheckpointError(f"checkpoint {path} describes a module that cannot be built: {reason}") from error
    if own_weights:
        module.hparams["backbone"]["weights"] = original
    return module
