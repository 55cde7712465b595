"""The topology branch: persistence images to features, and how these meet the pooled features of the network."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from retinai.topology.settings import CHANNELS, TopologySettings

# The gate starts at sigmoid(2) = 0.88: the network's own features, pretrained most often, have the first word.
_GATE_START = 2.0


class TopologyBranch(nn.Module):
    """A multilayer perceptron on persistence images: (Linear, LayerNorm, GELU, Dropout) per layer.

    The images enter as log(1 + x): noise near the diagonal sums to values a hundred times those of a single
    lesion. Nothing normalises the input further, for how much there is in an image is what counts lesions.

    Args:
        settings: Resolution R, hidden widths, width and dropout.
    """

    def __init__(self, settings: TopologySettings) -> None:
        super().__init__()
        self.width = settings.width
        widths = [len(CHANNELS) * settings.resolution**2, *settings.hidden, settings.width]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.GELU(), nn.Dropout(settings.dropout)]
        self.layers = nn.Sequential(*layers[:-1])  # the head has a dropout of its own

    def forward(self, topology: Tensor) -> Tensor:
        """Return features, shape (B, width), from persistence images (B, 4, R, R)."""
        return self.layers(torch.log1p(topology).flatten(1))


class ConcatFusion(nn.Module):
    """Both side by side: z = [f; t].

    Args:
        features: Width F of the pooled features f.
        topology: Width T of the branch's features t.
    """

    def __init__(self, features: int, topology: int) -> None:
        super().__init__()
        self.num_features = features + topology

    def forward(self, features: Tensor, topology: Tensor) -> Tensor:
        """Return z, shape (B, F + T)."""
        return torch.cat([features, topology], dim=1)


class GatedFusion(nn.Module):
    """A learned gate between both: g = sigmoid(W [f; t] + b), z = g * f + (1 - g) * (P t + c).

    Args:
        features: Width F of the pooled features f.
        topology: Width T of the branch's features t.

    Source: Arevalo et al., "Gated Multimodal Units for Information Fusion", ICLR workshop 2017, equations 1 to 4;
        here f stays as the backbone gives it, without a projection and tanh of its own.
    """

    def __init__(self, features: int, topology: int) -> None:
        super().__init__()
        self.num_features = features
        self.project = nn.Linear(topology, features)
        self.gate = nn.Linear(features + topology, features)
        nn.init.constant_(self.gate.bias, _GATE_START)

    def forward(self, features: Tensor, topology: Tensor) -> Tensor:
        """Return z, shape (B, F)."""
        gate = torch.sigmoid(self.gate(torch.cat([features, topology], dim=1)))
        return gate * features + (1 - gate) * self.project(topology)


FUSIONS: dict[str, type[ConcatFusion] | type[GatedFusion]] = {"concat": ConcatFusion, "gated": GatedFusion}


class TopologyReader(nn.Module):
    """Branch and fusion: what a grader has where topology is on.

    Args:
        settings: With topology on.
        features: Width F of the pooled features.
    """

    def __init__(self, settings: TopologySettings, features: int) -> None:
        super().__init__()
        self.branch = TopologyBranch(settings)
        self.fusion = FUSIONS[settings.fusion](features, settings.width)
        self.num_features = self.fusion.num_features

    def forward(self, features: Tensor, topology: Tensor) -> Tensor:
        """Return fused features, (B, num_features), from pooled features (B, F) and images (B, 4, R, R)."""
        return self.fusion(features, self.branch(topology))
