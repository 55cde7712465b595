"""Checkpoints that are on the disk whole or not at all, also after `kill -9` or a full disk."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from retinai.encoders.checkpoint_content import add_hash, take_hash
from retinai.encoders.checkpoint_metadata import KEY
from retinai.encoders.weights import read_checkpoint
from retinai.files import atomic_path


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written beside their place, flushed to the disk, then moved over it.

    Lightning's own writer does not flush the file before the move, so a machine that loses power could be
    left with an empty checkpoint, and its error on a full disk does not say what to do.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint with a hash of its content; the former file stays whole until the new one is.

        Args:
            checkpoint: What Lightning gathered of module, optimisers, loops and callbacks.
            path: The file to write.
            storage_options: Not used; anything but None is refused.

        Raises:
            UserError: If the disk or the quota is full; the former file is left as it was.
            TypeError: If storage options are given.
        """
        if storage_options is not None:
            raise TypeError("checkpoints go to local files, which take no storage options")
        # Serialised first, so that a full disk is met by one plain write and not inside torch's zip writer.
        buffer = io.BytesIO()
        torch.save(add_hash(checkpoint), buffer)
        with atomic_path(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def load_checkpoint(
        self,
        path: Any,
        map_location: Callable | None = None,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint without executing anything in it.

        Args:
            path: The file.
            map_location: Where tensors go; None leaves them on the CPU.
            weights_only: False is refused; nothing but tensors and plain values is read.

        Raises:
            CheckpointError: If the file is missing, damaged (its content is not what was written), holds more than
                tensors and plain values, or weights that are no finite numbers.
            ValueError: If `weights_only` is False.
        """
        if weights_only is False:
            raise ValueError("checkpoints are read without executing anything in them: weights_only=False is refused")
        content = read_checkpoint(path, map_location)
        # Of a checkpoint of retinai the hash was compared already; any other one that this class wrote has it too.
        return content if KEY in content else take_hash(content, str(path))


def remove_torn_checkpoints(folder: str | Path) -> int:
    """Remove the temporary files that a killed run left among its checkpoints.

    Args:
        folder: The `checkpoints` folder of a run.

    Returns:
        How many files were removed.
    """
    torn = [path for stem in ("best", "last") for path in Path(folder).glob(f".{stem}.*.ckpt")]
    for path in torn:
        path.unlink(missing_ok=True)
    return len(torn)
