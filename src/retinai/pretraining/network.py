"""The student: an encoder, and a head that reconstructs the reference's tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retinai.encoders.encoder import Encoder
from retinai.pretraining.tokens import Tokens, tokens_of

# First factor of what the head adds, so that it begins as the identity.
LAYER_SCALE = 1e-5


class ReconstructionHead(nn.Module):
    """h(t) = t + g * MLP(LN(t)), each token by itself; g is learned per dimension and begins at 1e-5.

    Args:
        width: D, dimensions of a token; also those of the hidden layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.scale = nn.Parameter(torch.full((width,), LAYER_SCALE))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the reconstructed tokens, (B, N, D)."""
        return tokens + self.scale * self.mlp(self.norm(tokens))


class Student(nn.Module):
    """An encoder with a reconstruction head.

    Args:
        encoder: With its start weights.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = ReconstructionHead(encoder.num_channels)
        self.to(memory_format=encoder.memory_format)

    def forward(self, images: Tensor, replaced: Tensor | None = None) -> Tokens:
        """Return the reconstructed tokens; arguments as for `tokens_of`."""
        seen = tokens_of(self.encoder, images, replaced)
        return Tokens(self.head(seen.values), seen.grid)
