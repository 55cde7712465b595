"""What is inside a checkpoint is what was written: a SHA-256 of its content, and weights that are finite numbers.

PyTorch does not look at the check sums of its own files, so a flipped byte would load as another weight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from retinai.errors import CheckpointError, UserError

HASH = "content_sha256"
# The weights of a module, and with weight averaging the ones that training goes on with.
STATES = ("state_dict", "current_model_state")
_PLAIN = (str, bytes, int, float, bool, type(None))


def add_hash(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint with the hash of its content; the tensors are the same, not copies."""
    content = {key: value for key, value in checkpoint.items() if key != HASH}
    return {**content, HASH: content_hash(content)}


def take_hash(checkpoint: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the content of a checkpoint without its hash, once it is known to be what was written.

    Args:
        checkpoint: What was read.
        name: The file, for the error.

    Raises:
        CheckpointError: If the hash is missing or another one, or weights are no finite numbers.
    """
    content = {key: value for key, value in checkpoint.items() if key != HASH}
    if HASH not in checkpoint:
        raise CheckpointError(
            f"{name} holds no SHA-256 of its content: an earlier version of retinai wrote it, or it was changed; "
            "train it again, or use the version that wrote it"
        )
    if checkpoint[HASH] != content_hash(content):
        raise CheckpointError(
            f"{name} is damaged: its content is not what was written (SHA-256); copy it again, or train it again"
        )
    for state in STATES:
        key = first_not_finite(content.get(state))
        if key is not None:
            raise CheckpointError(
                f"{name} holds weights that are no finite numbers (first {key!r}), so it grades nothing; the training "
                "that wrote it had diverged: train again with a lower optimizer.lr"
            )
    return content


def refuse_not_finite(states: Mapping[str, Any], epoch: int) -> None:
    """Refuse to write weights that are no finite numbers.

    Args:
        states: A checkpoint.
        epoch: The epoch that has ended, from 0.

    Raises:
        UserError: Names the first tensor, and what to try.
    """
    for state in STATES:
        key = first_not_finite(states.get(state))
        if key is not None:
            raise UserError(
                f"after epoch {epoch + 1} the weights are no longer finite numbers (first {key!r}), so no checkpoint "
                "was written: training has diverged; lower optimizer.lr, set trainer.gradient_clip_val=1, or train "
                "with trainer.precision=32-true"
            )


def first_not_finite(state: Any) -> str | None:
    """Return the key of the first tensor that holds NaN or infinity; None if there is none."""
    for key, value in state.items() if isinstance(state, Mapping) else ():
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel() and not _is_finite(value):
            return str(key)
    return None


def _is_finite(values: Tensor) -> bool:
    # Both pass NaN on, and unlike `isfinite` of every value they take no memory: ten times as fast.
    return bool(torch.isfinite(torch.stack(torch.aminmax(values.detach()))).all())


def content_hash(content: Any) -> str:
    """Return the SHA-256 of nested mappings and lists of tensors and plain values: keys, types, shapes, values."""
    digest = hashlib.sha256()
    for piece in _pieces(content):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any) -> Iterator[Any]:
    if isinstance(value, Tensor):
        # As bytes, because numpy has no bfloat16; a view, because a copy of every tensor takes its time.
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        yield f"tensor {value.dtype} {tuple(value.shape)} ".encode()
        yield flat.numpy().data
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)} ".encode()
        for key, inner in value.items():
            yield f"{key!r} ".encode("utf-8", "backslashreplace")
            yield from _pieces(inner)
    elif isinstance(value, list | tuple):
        yield f"list {len(value)} ".encode()
        for inner in value:
            yield from _pieces(inner)
    elif isinstance(value, _PLAIN):
        yield f"{value!r} ".encode("utf-8", "backslashreplace")
    else:
        yield f"{type(value).__name__} ".encode()  # its text could name a place in memory
