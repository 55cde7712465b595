"""Which base network a LLaVA is: a hash of the values in its files, the same on every machine.

The network in memory would not do: its 4-bit bytes change with the number of threads that quantised them (the offset
of NF4's nested scales is a mean, summed in another order), and its names change with the version of transformers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retinai.errors import CheckpointError, UserError

# In the order in which transformers looks for them.
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json"]


def fingerprint(source: str, revision: str | None = None) -> str:
    """Return the SHA-256 of names, types, shapes and a sample of the values of every tensor in a network's files.

    All bytes of a network of 7 billion parameters would take minutes; a sample tells two networks apart just as well.

    Args:
        source: The folder of the network, or its name on the hub, from where it was loaded before.
        revision: Revision on the hub; None is the newest.

    Raises:
        UserError: If the folder holds no weights.
    """
    digest = hashlib.sha256()
    lines = [line for file in weight_files(_folder(source, revision)) for line in _lines(file)]
    for name, line in sorted(lines):
        digest.update(name.encode() + line)
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights in a folder of transformers, those of safetensors first.

    Raises:
        UserError: If there is none, or the list of the parts cannot be read.
    """
    for whole in _WHOLE:
        if (folder / whole).is_file():
            return [folder / whole]
        index = folder / f"{whole}.index.json"
        if index.is_file():
            try:
                parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{index} cannot be read ({error}); fetch the network again") from error
            return [folder / part for part in sorted(parts)]
    raise UserError(f"{folder} holds no weights (looked for {' and '.join(_WHOLE)}, whole or in parts)")


def _folder(source: str, revision: str | None) -> Path:
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, revision=revision, allow_patterns=_PATTERNS, local_files_only=True))


def _lines(file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each tensor in a file, and what is hashed of it; memory holds pages of the file, not all."""
    for name, tensor in _tensors(file):
        values = sample(tensor).float().numpy().tobytes()
        yield name, f" {tensor.dtype} {tuple(tensor.shape)} ".encode() + values


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(file, framework="pt") as content:
            for name in content.keys():  # noqa: SIM118 (no mapping: it has keys, but cannot be walked over)
                yield name, content.get_tensor(name)
        return
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    yield from ((name, value) for name, value in state.items() if isinstance(value, Tensor))


def sample(tensor: Tensor, values: int = 64) -> Tensor:
    """Return evenly spaced values of a tensor, the first and the last among them, shape (at most `values`,).

    Places are whole numbers all the way: float32 has no odd numbers above 2^24, so the last place of a large tensor
    would come out as one past its end.
    """
    flat = tensor.detach().reshape(-1)
    count = min(values, len(flat))
    places = torch.arange(count, dtype=torch.int64) * (len(flat) - 1) // max(count - 1, 1)
    return flat[places.to(flat.device)]


def check_fingerprint(found: str, loaded: str, backbone: str) -> None:
    """Refuse adapters that were trained on another base network.

    Args:
        found: What the adapters' checkpoint says.
        loaded: That of the network at hand.
        backbone: Its name.

    Raises:
        CheckpointError: If the fingerprints differ.
    """
    if found != loaded:
        raise CheckpointError(
            f"the adapters were trained on another base network than the {backbone!r} that is here (fingerprints "
            f"{found[:12]} and {loaded[:12]}); use the same backbone.weights and backbone.revision as the run that "
            "made them"
        )
