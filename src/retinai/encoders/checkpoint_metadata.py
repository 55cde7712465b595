"""Reading what retinai wrote into a checkpoint besides the weights; `modules.checkpoint` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

import retinai
from retinai.config.record_schemas import CheckpointRecord, check_record
from retinai.encoders.checkpoint_content import STATES
from retinai.errors import CheckpointError, UserError
from retinai.tasks.task import Task

KEY = "retinai"
FORMAT = 3  # 2: a hash of the content; 3: encoders and branches are kept under `encoder` and `branches`


def read_metadata(checkpoint: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return retinai's part of a checkpoint.

    Args:
        checkpoint: What was read from the file.
        name: The file, for the error.

    Raises:
        CheckpointError: If it is not a checkpoint of retinai, of another format, or says what makes no sense.
    """
    metadata = checkpoint.get(KEY)
    if not isinstance(metadata, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(
            f"{name} is no retinai checkpoint; give one that `retinai train` wrote "
            "(weights from elsewhere go into backbone.weights=)"
        )
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{name} has checkpoint format {metadata.get('format')!r}, this retinai ({retinai.__version__}) reads "
            f"format {FORMAT}; use the version that wrote it ({metadata.get('version')})"
        )
    try:
        check_record(CheckpointRecord, metadata)
        if metadata.get("task") is not None:
            Task.from_dict(metadata["task"])
        _check_states(checkpoint)
    except (ValueError, UserError) as error:
        raise CheckpointError(f"{name} cannot be used ({error}); use one that retinai wrote") from error
    return metadata


def _check_states(checkpoint: Mapping[str, Any]) -> None:
    for name in STATES:
        state = checkpoint.get(name, {})
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError(f"{name} holds more than tensors")
