"""Attention on the last feature map, by timm's own blocks, with maps that can be read back."""

from __future__ import annotations

from dataclasses import dataclass

from timm.layers import SEModule
from timm.layers.cbam import CbamModule
from torch import Tensor, nn

from retinai.errors import ConfigError

_NAMES = ("none", "se", "cbam", "mha")


@dataclass(frozen=True)
class AttentionSettings:
    """Which attention follows the backbone.

    Args:
        name: `none`, `se` (squeeze and excitation), `cbam`, or `mha` (cells attend to each other).
        reduction: Channels are squeezed to C / reduction inside the block.
        kernel_size: Side of CBAM's spatial kernel, in cells of the map.
        heads: Heads of `mha`; they share the channels evenly.
    """

    name: str = "none"
    reduction: int = 16
    kernel_size: int = 7
    heads: int = 8

    def __post_init__(self) -> None:
        if self.name not in _NAMES:
            raise ConfigError([f"attention.name={self.name} is unknown; valid: {', '.join(_NAMES)}"])
        if self.kernel_size % 2 == 0:
            raise ConfigError([f"attention.kernel_size={self.kernel_size} is even; an odd one has a middle"])

    def build(self, channels: int) -> Attention | CellAttention | None:
        """Return the attention for a map of C channels; None for `none`.

        Raises:
            ConfigError: If the heads of `mha` cannot share the channels evenly.
        """
        if self.name == "none":
            return None
        if self.name != "mha":
            return Attention(self, channels)
        if channels % self.heads:
            problem = f"attention.heads={self.heads} cannot share the map's {channels} channels evenly"
            raise ConfigError([f"{problem}; give a divisor of {channels}"])
        return CellAttention(channels, self.heads)


class RecordedGate(nn.Module):
    """A gate that keeps its last output, so that an explanation can read the attention back.

    Args:
        gate: The gate (a sigmoid) of a timm block.
    """

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return gate(x), shape of x, and keep a copy without its graph."""
        out = self.gate(x)
        self.last = out.detach()
        return out


class Attention(nn.Module):
    """Squeeze-and-excitation or CBAM on a map (B, C, h, w).

    Args:
        settings: Which block, and its sizes.
        channels: C of the map.

    Source: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018; Woo et al., "CBAM", ECCV 2018;
        both as timm implements them.
    """

    def __init__(self, settings: AttentionSettings, channels: int) -> None:
        super().__init__()
        ratio = 1.0 / settings.reduction
        if settings.name == "se":
            self.block: nn.Module = SEModule(channels, rd_ratio=ratio)
            self.block.gate = RecordedGate(self.block.gate)
        else:
            self.block = CbamModule(channels, rd_ratio=ratio, spatial_kernel_size=settings.kernel_size)
            self.block.channel.gate = RecordedGate(self.block.channel.gate)
            self.block.spatial.gate = RecordedGate(self.block.spatial.gate)

    def forward(self, features: Tensor) -> Tensor:
        """Return the weighted map, shape (B, C, h, w)."""
        return self.block(features)

    @property
    def last_attention(self) -> dict[str, Tensor]:
        """Return the weights of the last forward pass, in [0, 1].

        Returns:
            `channel` (B, C, 1, 1) and, for CBAM, `spatial` (B, 1, h, w); empty before the first pass.
        """
        gates = [(name, module) for name, module in self.named_modules() if isinstance(module, RecordedGate)]
        return {
            "spatial" if "spatial" in name else "channel": gate.last for name, gate in gates if gate.last is not None
        }


class CellAttention(nn.Module):
    """Multi-head self-attention between the cells of a map (B, C, h, w), added to the map.

    Cells are tokens without positions: what a cell holds decides what it looks at, not where it lies,
    so any size of photograph will do.

    Args:
        channels: C of the map.
        heads: Heads, which share the channels.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.2.2, by PyTorch's own layer;
        normalised first, as in Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        nn.init.zeros_(self.attention.out_proj.weight)  # training starts from the backbone's own features
        self._last: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Return the map plus what its cells took from each other, shape (B, C, h, w)."""
        height, width = features.shape[-2:]
        cells = self.norm(features.flatten(2).transpose(1, 2))
        taken, weights = self.attention(cells, cells, cells, need_weights=True)
        # How much all cells together look at each one; the shares of a photograph add up to 1.
        self._last = weights.detach().mean(dim=1).unflatten(1, (1, height, width))
        return features + taken.transpose(1, 2).unflatten(2, (height, width))

    @property
    def last_attention(self) -> dict[str, Tensor]:
        """Return `spatial` (B, 1, h, w): each cell's share of the attention in the last pass; empty before the first.

        Mean over heads and over the cells that look.
        """
        return {} if self._last is None else {"spatial": self._last}
