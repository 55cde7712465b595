"""Encoder: what every network that sees offers, so that tuning, attention, layer decay and heads suit any of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from retinai.config.build import TARGET, build
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.encoders.weights import LoadReport
from retinai.errors import ConfigError, UserError

# What a section without `_target_` builds.
_DEFAULT = "retinai.encoders.timm_encoder.TimmEncoder"


class Encoder(nn.Module, ABC):
    """A network that turns photographs into features.

    An implementation sets the attributes below, keeps all of its weights in `net`, and writes the three methods
    `embed`, `feature_map` and `blocks`. Nothing else is asked of it: a new kind of encoder is one file and one YAML.

    Attributes:
        name: Name of its configuration, such as `vit_small`.
        net: The network with its weights; names of layers are relative to it.
        preprocessing: Size, interpolation, mean and std of the photographs that it expects. Of an encoder out of a
            checkpoint also crop and contrast; others leave these to the data.
        num_features: F, length of an embedding.
        num_channels: C, channels of the feature map.
        load_report: Where its weights came from, tensor by tensor; None where they are fresh.
        weights: `backbone.weights` as it was configured; of a trained checkpoint that of its training.
        tokens: Whether it is a network of tokens (a vision transformer).
        pools_map: Whether an embedding is read from the feature map; if not, attention on the map has no effect.
        memory_format: In which it computes fastest.
    """

    name: str
    net: nn.Module
    preprocessing: Preprocessing
    num_features: int
    num_channels: int
    load_report: LoadReport | None = None
    weights: str = "none"
    tokens: bool = False
    pools_map: bool = True
    memory_format: torch.memory_format = torch.contiguous_format

    @abstractmethod
    def embed(self, images: Tensor, attention: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return one vector per photograph, shape (B, num_features).

        Args:
            images: Normalised photographs, (B, 3, S, S).
            attention: What happens to the feature map, (B, C, h, w) to the same shape, before it is pooled.
        """

    @abstractmethod
    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last map before pooling, shape (B, num_channels, h, w), from photographs as for `embed`."""

    @abstractmethod
    def blocks(self) -> list[list[str]]:
        """Return all keys of `net.state_dict()` in groups by depth.

        The first group is the stem (what lies before the blocks, such as position embeddings), then comes one for
        each repeated block in forward order, and last the tail (what follows them, such as the final norm). Stem
        and tail may be empty. Adapters that were put beside a layer are in its group.
        """

    @property
    def pyramid_channels(self) -> tuple[int, ...]:
        """Channels of the maps that `pyramid` gives, from the finest to the coarsest; empty where there is none."""
        return ()

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return maps of several sizes, from the finest to the coarsest, each (B, C_i, h_i, w_i).

        Args:
            images: Normalised photographs of any size, (B, 3, H, W).

        Raises:
            UserError: If the network has maps of one size only, or takes photographs of one size only.
        """
        raise UserError(f"{self.name} has no maps of several sizes that photographs of any size go through")

    def forward(self, images: Tensor, attention: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return `embed(images, attention)`; networks call this, so that hooks of PyTorch see it."""
        return self.embed(images, attention)

    def poolings(self) -> tuple[str, ...]:
        """Return the words that `pool` takes.

        `own` is the encoder's embedding as it is configured, `avg` the mean of the cells of its feature map. Networks
        of tokens may have `token`, the class token, and `all`, the mean of all tokens, class token and registers too.
        """
        return ("own", "avg")

    def pool(self, images: Tensor, pooling: str) -> Tensor:
        """Return one vector per photograph, pooled in one of `poolings()`, shape (B, K).

        Args:
            images: Normalised photographs, (B, 3, S, S).
            pooling: One of `poolings()`.
        """
        return self.embed(images) if pooling == "own" else self.feature_map(images).mean(dim=(2, 3))

    def to_map(self, features: Tensor) -> Tensor:
        """Return what a layer of `net` gave as a map, shape (B, K, h, w), without prefix tokens.

        Args:
            features: Output of any layer; here it has to be a map already.

        Raises:
            UserError: If it is no map of cells.
        """
        # Photographs are square, so a map that is not has its dimensions in another order.
        if features.ndim != 4 or features.shape[2] != features.shape[3]:
            raise UserError(f"the layer's output has the shape {tuple(features.shape)}, which is no map of cells")
        return features

    def explained_layer(self) -> nn.Module:
        """Return the layer whose output is explained unless another is asked for: the last map before pooling.

        It is found by one small pass: the part of `net` that is called last when the feature map is made.
        """
        called: list[nn.Module] = []
        handles = [part.register_forward_hook(lambda m, i, o: called.append(m)) for part in self.net.children()]
        side, device, training = self.preprocessing.input_size, next(self.parameters()).device, self.training
        try:
            with torch.no_grad():
                self.eval().feature_map(torch.zeros(1, 3, side, side, device=device))
        finally:
            self.train(training)
            for handle in handles:
                handle.remove()
        return called[-1]

    def undecayed(self) -> set[str]:
        """Return the last parts of the names of parameters without weight decay, besides vectors."""
        return set()

    @property
    def num_blocks(self) -> int:
        """Number of blocks between stem and tail."""
        return len(self.blocks()) - 2

    def depths(self) -> dict[str, int]:
        """Return the depth of each key of `net.state_dict()`: 0 stem, 1 to N blocks, N + 1 tail."""
        return {key: depth for depth, keys in enumerate(self.blocks()) for key in keys}


def build_encoder(section: Mapping[str, Any]) -> Encoder:
    """Build an encoder from a `backbone` section.

    Args:
        section: `_target_` names the class, a network of timm where it is missing; the rest are its arguments.

    Raises:
        ConfigError: If it names no encoder, or a key is unknown; names it with the valid ones.
        CheckpointError: If weights from a file do not fit.
        UserError: If weights cannot be had.
    """
    if not isinstance(section, Mapping):
        raise ConfigError([f"{section!r} stands in the place of a section: of model.backbone=, which is ${{backbone}}"])
    return build({TARGET: _DEFAULT, **section}, Encoder)
