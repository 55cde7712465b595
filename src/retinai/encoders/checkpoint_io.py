"""Checkpoints that are on the disk whole or not at all, also after `kill -9` or a full disk."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from retinai.encoders.checkpoint_content import add_hash, take_hash
from retinai.errors import CheckpointError
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
        map_location: Callable | None = lambda storage, location: storage,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint without executing anything in it.

        Args:
            path: The file.
            map_location: Where tensors go; the default leaves them on the CPU.
            weights_only: Anything but False refuses all but tensors and plain values.

        Raises:
            CheckpointError: If the file is missing, damaged (its content is not what was written), holds more than
                tensors and plain values, or weights that are no finite numbers.
        """
        refuse = weights_only is not False
        if Path(path).exists() and not Path(path).is_file():  # a pipe would be waited for
            raise CheckpointError(f"{path} is no file; give a checkpoint, such as RUN/checkpoints/best.ckpt")
        try:
            content = torch.load(path, map_location=map_location, weights_only=refuse)
        except FileNotFoundError:
            raise CheckpointError(f"{path} does not exist") from None
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"{path} is damaged or holds more than tensors and plain values, so it was not loaded; "
                "use a checkpoint that retinai wrote"
            ) from error
        except (RuntimeError, EOFError, KeyError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged (truncated or no checkpoint); use another one") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} holds a {type(content).__name__} and no checkpoint; use another one")
        return take_hash(content, str(path))


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
