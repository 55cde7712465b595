"""The topology branch: persistence images to features, and how these meet the pooled features of the network."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from retinai.config.build import show_options
from retinai.modules.branches import Branch
from retinai.topology.field import TopologyField
from retinai.topology.settings import CHANNELS, TopologySettings

# The gate starts at sigmoid(2) = 0.88: the network's own features, pretrained most often, have the first word.
_GATE_START = 2.0


class PersistenceEncoder(nn.Module):
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


@show_options(TopologySettings)
class TopologyBranch(Branch):
    """Persistence images beside the photograph: an encoder of its own, and a fusion.

    Args:
        num_features: Width F of the features that it is fused with.
        **settings: The keys of `TopologySettings`.

    Raises:
        ConfigError: With one sentence for each value that makes no sense.
    """

    def __init__(self, num_features: int, **settings: Any) -> None:
        super().__init__()
        self.settings = TopologySettings.from_dict(settings)
        self.branch = PersistenceEncoder(self.settings)
        self.fusion = FUSIONS[self.settings.fusion](num_features, self.settings.width)
        self.num_features = self.fusion.num_features

    @classmethod
    def read_section(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings, checked."""
        return TopologySettings.from_dict(super().read_section(section)).to_dict()

    @classmethod
    def make_field(cls, section: Mapping[str, Any]) -> TopologyField:
        """Return persistence images as the section wants them."""
        return TopologyField(TopologySettings.from_dict(cls.read_section(section)))

    @property
    def field(self) -> TopologyField:
        """The persistence images that it reads."""
        return TopologyField(self.settings)

    def forward(self, features: Tensor, values: Tensor) -> Tensor:
        """Return fused features, (B, G), from pooled features (B, F) and persistence images (B, 4, R, R)."""
        return self.fusion(features, self.branch(values))


def topology_of(module: Any) -> TopologySettings | None:
    """Return which persistence images a module reads; None where it reads none.

    Args:
        module: A LightningModule of retinai.
    """
    branches = getattr(module.network, "branches", {}).values()
    return next((branch.settings for branch in branches if isinstance(branch, TopologyBranch)), None)
