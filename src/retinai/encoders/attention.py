"""Attention on the last feature map, by timm's own blocks, with maps that can be read back."""

from __future__ import annotations

from dataclasses import dataclass

from timm.layers import SEModule
from timm.layers.cbam import CbamModule
from torch import Tensor, nn

from retinai.errors import ConfigError

_NAMES = ("none", "se", "cbam")


@dataclass(frozen=True)
class AttentionSettings:
    """Which attention follows the backbone.

    Args:
        name: `none`, `se` (squeeze and excitation) or `cbam`.
        reduction: Channels are squeezed to C / reduction inside the block.
        kernel_size: Side of CBAM's spatial kernel, in cells of the map.
    """

    name: str = "none"
    reduction: int = 16
    kernel_size: int = 7

    def __post_init__(self) -> None:
        if self.name not in _NAMES:
            raise ConfigError([f"attention.name={self.name} is unknown; valid: {', '.join(_NAMES)}"])
        if self.kernel_size % 2 == 0:
            raise ConfigError([f"attention.kernel_size={self.kernel_size} is even; an odd one has a middle"])

    def build(self, channels: int) -> Attention | None:
        """Return the attention for a map of C channels; None for `none`."""
        return None if self.name == "none" else Attention(self, channels)


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
