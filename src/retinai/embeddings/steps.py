"""A frozen encoder as a module of the prediction loop, and the step that takes its embeddings."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import Tensor

from retinai.data.loading.fields import FieldSample, SampleField
from retinai.data.photographs.images import read_bytes
from retinai.encoders.encoder import Encoder
from retinai.errors import ConfigError, DataError
from retinai.prediction.steps import PredictionStep

EMBEDDING = "embedding"
SHA256 = "sha256"


class FrozenEncoder(lightning.LightningModule):
    """An encoder alone, for prediction.

    Args:
        encoder: The encoder; it is not trained.
        pooling: One of its `poolings()`.

    Raises:
        ConfigError: If it cannot pool so; lists the valid words.
    """

    largest_batch: int | None = None

    def __init__(self, encoder: Encoder, pooling: str = "own") -> None:
        super().__init__()
        if pooling not in encoder.poolings():
            raise ConfigError(
                [f"pooling={pooling} does not suit {encoder.name}; it has: {', '.join(encoder.poolings())}"]
            )
        self.encoder = encoder.to(memory_format=encoder.memory_format).requires_grad_(False)
        self.pooling = pooling

    def forward(self, images: Tensor) -> Tensor:
        """Return one vector per photograph, shape (B, K), from normalised photographs (B, 3, S, S)."""
        return self.encoder.pool(images.contiguous(memory_format=self.encoder.memory_format), self.pooling)

    def prediction_steps(self) -> list[PredictionStep]:
        """Return the step that takes embeddings."""
        return [Embed()]


class Embed(PredictionStep):
    """The embedding of each photograph: `embedding`, float32 (B, K), and `sha256` of its file.

    Attributes:
        seconds: What the network has taken so far.
        count: For how many photographs.
    """

    name = "embeddings"

    def __init__(self) -> None:
        self.seconds = 0.0
        self.count = 0

    def run(self, module: Any, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Return the embeddings of a batch.

        Raises:
            DataError: If the network gives what is no finite number; names the photograph.
        """
        began = time.perf_counter()
        vectors = module(batch["image"]).float()
        finite = torch.isfinite(vectors).all(dim=1).cpu()  # waits for the device, so that its time is counted
        self.seconds += time.perf_counter() - began
        self.count += len(vectors)
        if not finite.all():
            name = batch["id"][int((~finite).nonzero()[0])]
            raise DataError(f"the network gives {name} an embedding that is no finite number; its weights are damaged")
        return {EMBEDDING: vectors, SHA256: batch[SHA256]}


class ContentHash(SampleField):
    """The SHA-256 of a photograph's file, so that embeddings are known to be of the photographs of a table."""

    name = SHA256

    def load(self, sample: FieldSample) -> str:
        """Return the hash in hex."""
        return hashlib.sha256(read_bytes(sample.path)).hexdigest()

    def collate(self, values: list[Any]) -> list[str]:
        """Return the hashes of a batch."""
        return list(values)
