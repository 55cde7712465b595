"""What trains: the whole network, its head, or its last blocks; what does not train stays as it is."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from retinai.encoders.encoder import Encoder
from retinai.errors import ConfigError

_NAMES = ("full", "head", "partial")
# Where a network keeps its encoder, and the encoder its own weights.
ENCODER = "encoder."
NET = f"{ENCODER}net."


class Tuning:
    """What a `tuning` section builds, of whatever model: settings that say what trains."""

    name: str


class EncoderTuning(Tuning, ABC):
    """A tuning of any encoder; what stands on the encoder (attention, branches, head) always trains."""

    @abstractmethod
    def adapt(self, encoder: Encoder) -> tuple[list[str], str]:
        """Freeze what does not train in an encoder, and add to it what trains besides; in place.

        Args:
            encoder: With its start weights.

        Returns:
            The keys of `encoder.net.state_dict()` that training cannot change (parameters and buffers), and what
            else a user should know.

        Raises:
            ConfigError: If the tuning does not suit the encoder.
        """

    def apply(self, network: nn.Module) -> TuningReport:
        """Adapt the encoder of a network, `network.encoder`, and count what trains in the network."""
        encoder: Any = network.encoder
        frozen, note = self.adapt(encoder)
        return report_tuning(network, frozen, note)


@dataclass(frozen=True)
class TuningSettings(EncoderTuning):
    """What trains.

    Args:
        name: `full`, `head` (attention and head only) or `partial` (the last blocks as well).
        blocks: For `partial`: how many of the encoder's last blocks train.
        freeze_norm: Batch normalisation of the encoder keeps its statistics, scales and shifts;
            useful with small batches and few photographs.
    """

    name: str = "full"
    blocks: int | None = None
    freeze_norm: bool = False

    def __post_init__(self) -> None:
        if self.name not in _NAMES:
            raise ConfigError([f"tuning.name={self.name} is unknown; valid: {', '.join(_NAMES)}"])
        if self.name == "partial" and not self.blocks:
            raise ConfigError(["tuning=partial needs tuning.blocks, the number of last blocks that train"])
        if self.name != "partial" and self.blocks is not None:
            raise ConfigError([f"tuning.blocks means nothing with tuning={self.name}; choose tuning=partial"])

    def adapt(self, encoder: Encoder) -> tuple[list[str], str]:
        """Freeze the blocks below those that train; see `EncoderTuning.adapt`."""
        depth = encoder.num_blocks
        if self.name == "partial" and self.blocks is not None and self.blocks > depth:
            raise ConfigError([f"tuning.blocks={self.blocks} is more than backbone {encoder.name} has ({depth})"])
        first = {"full": 0, "head": depth + 2, "partial": depth + 1 - (self.blocks or 0)}[self.name]
        frozen = [key for keys in encoder.blocks()[:first] for key in keys]
        parameters = dict(encoder.net.named_parameters())
        for key in frozen:
            if key in parameters:
                parameters[key].requires_grad_(False)
        if self.freeze_norm:
            for module in encoder.modules():
                if isinstance(module, _BatchNorm):
                    module.requires_grad_(False)
        return frozen, ""


@dataclass(frozen=True)
class TuningReport:
    """What a tuning left to train.

    Args:
        trainable: Number of parameters that train.
        frozen: Number of parameters that do not.
        frozen_keys: Keys of the network's state dict in the encoder's frozen layers: parameters and
            buffers that training cannot change.
        note: What else a user should know of it.
    """

    trainable: int
    frozen: int
    frozen_keys: tuple[str, ...]
    note: str = ""

    def __str__(self) -> str:
        share = self.trainable / max(self.trainable + self.frozen, 1)
        told = f"{self.trainable:,} parameters train ({share:.2%}), {self.frozen:,} stay as they are"
        return f"{told}; {self.note}" if self.note else told


def report_tuning(network: nn.Module, frozen_keys: Iterable[str], note: str = "") -> TuningReport:
    """Count what trains in a network.

    Args:
        network: The network, its `requires_grad` flags set.
        frozen_keys: Keys of `network.encoder.net.state_dict()` that training cannot change.
        note: What else a user should know.
    """
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    return TuningReport(trainable, frozen, tuple(f"{NET}{key}" for key in frozen_keys), note)


def keep_frozen_in_eval(module: nn.Module) -> None:
    """Put every part whose parameters are all frozen in evaluation mode.

    Batch normalisation then keeps its running statistics and stochastic depth is off; to be called
    after each `train()`.
    """
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        module.eval()
        return
    for child in module.children():
        keep_frozen_in_eval(child)


def hash_tensors(state: Mapping[str, Tensor], keys: Iterable[str]) -> str:
    """Return the SHA-256 of named tensors: names, types, shapes and values."""
    digest = hashlib.sha256()
    for key in sorted(keys):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # bytes: numpy has no bfloat16
    return digest.hexdigest()
