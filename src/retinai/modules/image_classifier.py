"""The grader: encoder with attention, where it is on topology, dropout, one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retinai.encoders.attention import AttentionSettings
from retinai.encoders.encoder import Encoder
from retinai.errors import ConfigError
from retinai.topology.branch import TopologyReader
from retinai.topology.settings import TopologySettings

_NO_IMAGES = "the network has a topology branch and was given photographs alone; give it persistence images as well"
_NO_BRANCH = "the network was trained without topology, so it takes no persistence images; leave topology= out"


class ImageClassifier(nn.Module):
    """A network that turns photographs into logits.

    Network and photographs are kept in the memory format in which the encoder computes fastest: convolutional
    networks have their channels last, which is faster on CPUs and on tensor cores.

    Args:
        encoder: Turns photographs into features.
        attention: What weights its feature map before the pooling.
        num_outputs: Logits per photograph, as the loss asks for.
        dropout: Probability of dropping a feature before the head while training.
        topology: With topology on: the network then takes persistence images too; None for none.

    Raises:
        ConfigError: If the attention would have no effect, because the encoder pools its class token.
    """

    def __init__(
        self,
        encoder: Encoder,
        attention: AttentionSettings,
        num_outputs: int,
        dropout: float = 0.0,
        topology: TopologySettings | None = None,
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
        self.topology = None if topology is None else TopologyReader(topology, encoder.num_features)
        width = encoder.num_features if self.topology is None else self.topology.num_features
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_outputs)
        # Small weights and no bias: the first predictions are even, whatever the features' scale.
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.use_memory_format(encoder.memory_format)

    def use_memory_format(self, memory_format: torch.memory_format) -> None:
        """Keep weights and photographs in a memory format; an exported graph is written without channels last."""
        self.memory_format = memory_format
        self.to(memory_format=memory_format)

    def forward(self, images: Tensor, topology: Tensor | None = None) -> Tensor:
        """Return logits, float32, shape (B, num_outputs), also where the rest computes in 16 bits.

        Args:
            images: Normalised photographs, (B, 3, S, S).
            topology: Their persistence images, (B, 4, R, R), where the network has a topology branch.

        Raises:
            ConfigError: If persistence images are missing, or given to a network without a branch.
        """
        return self._logits(self.dropout(self.fused(self.pooled(images), topology)))

    def _logits(self, features: Tensor) -> Tensor:
        # bfloat16 tells a grade of 2 from 2.016 at best, too coarse for losses and fitted cut-offs; one layer in
        # float32 costs nothing. Asked for, not always entered: an exported graph has no place for such a context.
        if not torch.is_autocast_enabled(features.device.type):
            return self.head(features)
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())

    def fused(self, features: Tensor, topology: Tensor | None = None) -> Tensor:
        """Return pooled features, (B, num_features), with what the topology branch adds, where there is one."""
        if (self.topology is None) != (topology is None):
            raise ConfigError([_NO_IMAGES if topology is None else _NO_BRANCH])
        return features if self.topology is None else self.topology(features, topology)

    def pooled(self, images: Tensor) -> Tensor:
        """Return the pooled features of the photographs alone, shape (B, num_features)."""
        return self.encoder(images.contiguous(memory_format=self.memory_format), self.attention)

    @property
    def last_attention(self) -> dict[str, Tensor]:
        """Attention weights of the last forward pass: `channel` (B, C, 1, 1), `spatial` (B, 1, h, w)."""
        return {} if self.attention is None else self.attention.last_attention
