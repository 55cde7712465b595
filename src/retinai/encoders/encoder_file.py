"""`encoder.safetensors`: an encoder that retinai pre-trained, with where it comes from inside of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from retinai.config.record_schemas import Name, Record, Sha256, check_record
from retinai.encoders.tuning import hash_tensors
from retinai.encoders.weights import LoadReport, load_weights
from retinai.errors import CheckpointError
from retinai.files import atomic_path

_KEY = "retinai"


class Provenance(Record):
    """Where a pre-trained encoder comes from.

    Attributes:
        version: Of retinai.
        method: Name of the model that trained it.
        backbone: Name of its configuration.
        architecture: timm's name of the network, where it is one.
        start: What its training started from, in words.
        start_sha256: Hash of those weights.
        photographs: Training photographs by data set.
        split: What decided which photographs those are: `folds`, `fold`, `split_seed`, `split_file`.
        epochs: Of the training.
        score: Best value of the monitored loss.
        preprocessing: How photographs were prepared.
        rights: What the licence of the start weights says, a sentence each.
        seen: Names of data sets that were in the pre-training of the start weights.
        sha256: Hash of names and values of the tensors.
    """

    version: Name
    method: Name
    backbone: Name
    architecture: Name | None = None
    start: str
    start_sha256: Sha256
    photographs: dict[str, int] = Field(min_length=1)
    split: dict[str, Any]
    epochs: int = Field(ge=0)
    score: float | None = None
    preprocessing: dict[str, Any]
    rights: list[str] = Field(default_factory=list)
    seen: list[Name] = Field(default_factory=list)
    sha256: Sha256

    def __str__(self) -> str:
        seen = ", ".join(f"{name} ({count})" for name, count in self.photographs.items())
        return f"{self.method} of {self.backbone} on the training photographs of {seen}"

    def notes(self, file: str, data: str | None = None) -> list[str]:
        """Return what a user of the file must know, see `WeightFile.notes`."""
        told = [f"{file} is {self}", *self.rights]
        if data in self.photographs:
            parts = ", ".join(f"data.{key}={value}" for key, value in self.split.items() if value is not None)
            told.append(
                f"data={data} was in the pre-training of {file}, its training part by {parts}: with another split the "
                "test part holds photographs that the encoder has seen, without their labels"
            )
        if data in self.seen:
            told.append(f"data={data} was in the pre-training of what {file} started from: it is no new data to it")
        return told


def write_encoder_file(path: Path, net: nn.Module, **facts: Any) -> Provenance:
    """Write the weights of a network with their provenance, whole or not at all.

    Args:
        path: The file.
        net: The network of an encoder.
        **facts: Of `Provenance`, but for the hash of the tensors.

    Returns:
        What was written about it.
    """
    from safetensors.torch import save_file

    state = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    provenance = check_record(Provenance, {**facts, "sha256": hash_tensors(state, state)})
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={_KEY: json.dumps(provenance.model_dump())})
    return provenance


def read_provenance(path: str | Path) -> Provenance | None:
    """Return where the encoder of a file comes from; None for files that retinai did not write.

    Raises:
        CheckpointError: If what the file says of itself is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if Path(path).suffix != ".safetensors" or not Path(path).is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError):
        return None  # reading the weights says what is wrong
    if text is None:
        return None
    try:
        return check_record(Provenance, json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} does not say where it comes from as retinai writes it: {error}") from error


def load_encoder_file(
    net: nn.Module, state: dict[str, Tensor], provenance: Provenance, source: str, **options: Any
) -> LoadReport:
    """Load an encoder file into a network of the same architecture; nothing may be missing or left over.

    Args:
        net: The network.
        state: The tensors of the file.
        provenance: Of `read_provenance`.
        source: The file, for report and errors.
        **options: Of `load_weights`.

    Raises:
        CheckpointError: If it is of another network, or its tensors are not those that were written.
    """
    own = getattr(net, "pretrained_cfg", {}).get("architecture")
    if provenance.architecture is not None and own is not None and own != provenance.architecture:
        raise CheckpointError(
            f"{source} is an encoder of {provenance.architecture} (backbone={provenance.backbone}), and this network "
            f"is {own}; choose the backbone that it was made with"
        )
    if hash_tensors(state, state) != provenance.sha256:
        raise CheckpointError(f"{source} was changed or damaged after it was written (SHA-256); copy it again")
    return load_weights(net, state, source=f"{source} ({provenance})", **options)
