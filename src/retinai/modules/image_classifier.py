"""The network of a classifier: encoder with attention, branches, a hidden layer or none, dropout, one linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from retinai.encoders.attention import AttentionSettings
from retinai.encoders.encoder import Encoder
from retinai.errors import ConfigError
from retinai.modules.branches import build_branches


class ImageClassifier(nn.Module):
    """A network that turns photographs into logits.

    Network and photographs are kept in the memory format in which the encoder computes fastest: convolutional
    networks have their channels last, which is faster on CPUs and on tensor cores.

    Args:
        encoder: Turns photographs into features.
        attention: What weights its feature map before the pooling.
        num_outputs: Logits per photograph, as the loss asks for.
        dropout: Probability of dropping a feature before the head while training.
        branches: Section of each further input, by name; None for photographs alone.
        hidden: Width of a layer with ReLU between features and head; None for none.

    Raises:
        ConfigError: If the attention would have no effect, because the encoder pools its class token.
    """

    def __init__(
        self,
        encoder: Encoder,
        attention: AttentionSettings,
        num_outputs: int,
        dropout: float = 0.0,
        branches: Mapping[str, Any] | None = None,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        if attention.name != "none" and not encoder.pools_map:
            raise ConfigError(
                [
                    f"attention={attention.name} weights the map of patch tokens, but backbone {encoder.name} reads "
                    "its class token only; set backbone.pooling=avg, or attention=none"
                ]
            )
        self.encoder = encoder
        self.attention = attention.build(encoder.num_channels)
        width = self.pooled_width(encoder)
        self.branches = build_branches(branches, width)
        widths: list[Any] = [width, *(branch.num_features for branch in self.branches.values())]
        self.hidden = None if hidden is None else nn.Sequential(nn.Linear(widths[-1], hidden), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1] if hidden is None else hidden, num_outputs)
        # Small weights and no bias: the first predictions are even, whatever the features' scale.
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.use_memory_format(encoder.memory_format)

    def pooled_width(self, encoder: Encoder) -> int:
        """Return the width of the features that branches and head begin with."""
        return encoder.num_features

    def use_memory_format(self, memory_format: torch.memory_format) -> None:
        """Keep weights and photographs in a memory format; an exported graph is written without channels last."""
        self.memory_format = memory_format
        self.to(memory_format=memory_format)

    def forward(self, images: Tensor, *values: Any) -> Tensor:
        """Return logits, float32, shape (B, num_outputs), also where the rest computes in 16 bits.

        Args:
            images: Normalised photographs, (B, 3, S, S).
            *values: What each of the branches reads, in their order.

        Raises:
            ConfigError: If there are more or fewer values than branches.
        """
        return self.classify(self.pooled(images), *values)

    def classify(self, features: Tensor, *values: Any) -> Tensor:
        """Return logits, float32, (B, num_outputs), from pooled features (B, F) and what each of the branches reads."""
        features = self.fused(features, *values)
        return self._logits(self.dropout(features if self.hidden is None else self.hidden(features)))

    def _logits(self, features: Tensor) -> Tensor:
        # bfloat16 tells a grade of 2 from 2.016 at best, too coarse for losses and fitted cut-offs; one layer in
        # float32 costs nothing. Asked for, not always entered: an exported graph has no place for such a context.
        if not torch.is_autocast_enabled(features.device.type):
            return self.head(features)
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())

    def fused(self, features: Tensor, *values: Any) -> Tensor:
        """Return pooled features, (B, F), with what each branch adds to them, shape (B, G)."""
        if len(values) != len(self.branches):
            names = ", ".join(self.branches) or "nothing"
            raise ConfigError([f"the network reads {names} beside photographs, and was given {len(values)} inputs"])
        for branch, value in zip(self.branches.values(), values, strict=True):
            features = branch(features, value)
        return features

    def pooled(self, images: Tensor) -> Tensor:
        """Return the pooled features of the photographs alone, shape (B, num_features)."""
        return self.encoder(images.contiguous(memory_format=self.memory_format), self.attention)

    @property
    def last_attention(self) -> dict[str, Tensor]:
        """Attention weights of the last forward pass: `channel` (B, C, 1, 1), `spatial` (B, 1, h, w)."""
        return {} if self.attention is None else self.attention.last_attention
