"""What trains: the whole network, its head, or its last blocks; what does not train stays as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from retinai.errors import ConfigError

if TYPE_CHECKING:
    from retinai.modules.image_classifier import ImageClassifier

_NAMES = ("full", "head", "partial")


class Tuning:
    """What a `tuning` section builds, of whatever model: settings that say what trains."""

    name: str


@dataclass(frozen=True)
class TuningSettings(Tuning):
    """What trains.

    Args:
        name: `full`, `head` (attention and head only) or `partial` (the last blocks as well).
        blocks: For `partial`: how many of the backbone's last blocks train.
        freeze_norm: Batch normalisation of the backbone keeps its statistics, scales and shifts;
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

    def apply(self, network: ImageClassifier) -> TuningReport:
        """Freeze what does not train; see `apply_tuning`."""
        return apply_tuning(network, self)


@dataclass(frozen=True)
class TuningReport:
    """What a tuning left to train.

    Args:
        trainable: Number of parameters that train.
        frozen: Number of parameters that do not.
        frozen_keys: Keys of the network's state dict in the backbone's frozen layers: parameters and
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


def apply_tuning(network: ImageClassifier, settings: TuningSettings) -> TuningReport:
    """Decide which parameters of a network get gradients.

    Args:
        network: The network; its `requires_grad` flags are set.
        settings: What trains.

    Returns:
        Counts, and the keys of the layers that stay whole.

    Raises:
        ConfigError: If more blocks are asked for than the backbone has.
    """
    backbone = network.backbone
    depth = len(backbone.blocks())
    if settings.name == "partial" and settings.blocks is not None and settings.blocks > depth:
        raise ConfigError([f"tuning.blocks={settings.blocks} is more than backbone {backbone.name} has ({depth})"])
    first = {"full": 0, "head": depth + 2, "partial": depth + 1 - (settings.blocks or 0)}[settings.name]
    frozen_keys = [key for key, layer in backbone.layer_ids().items() if layer < first]
    parameters = dict(backbone.net.named_parameters())
    for key in frozen_keys:
        if key in parameters:
            parameters[key].requires_grad_(False)
    if settings.freeze_norm:
        for module in backbone.modules():
            if isinstance(module, _BatchNorm):
                module.requires_grad_(False)
    return report_tuning(network, frozen_keys)


def report_tuning(network: ImageClassifier, frozen_keys: Iterable[str], note: str = "") -> TuningReport:
    """Count what trains in a network.

    Args:
        network: The network, its `requires_grad` flags set.
        frozen_keys: Keys of the state dict of `backbone.net` that training cannot change.
        note: What else a user should know.
    """
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    return TuningReport(trainable, frozen, tuple(f"backbone.net.{key}" for key in frozen_keys), note)


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
