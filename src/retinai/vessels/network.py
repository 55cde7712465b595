"""W-Nets: two small U-Nets in a row, of which the second sees the photograph and what the first made of it.

After Galdran et al., "The Little W-Net That Could: State-of-the-Art Retinal Vessel Segmentation with Minimalistic
Models" (2020). Names of the parts are those of the published files, so that these load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Two convolutions, beside them a convolution of 1 x 1 whose result is added; halves the sides first where asked.

    Args:
        channels_in: Channels of the input.
        channels: Channels of the output.
        halve: Whether the largest of each 2 x 2 cells is taken first.
    """

    def __init__(self, channels_in: int, channels: int, *, halve: bool = False) -> None:
        super().__init__()
        self.halve = nn.MaxPool2d(2) if halve else nn.Identity()
        self.shortcut = nn.Sequential(nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.block = nn.Sequential(*_convolution(channels_in, channels), *_convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return features, float32 (B, channels, H, W), or of half the sides."""
        x = self.halve(x)
        return self.block(x) + self.shortcut(x)


class UpBlock(nn.Module):
    """Doubles the sides of the features and joins them with those of the way down, which pass a convolution.

    Args:
        channels_in: Channels of the deeper features.
        channels: Channels of the output and of the features of the way down.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.up_layer = nn.ModuleDict(
            {"block": nn.Sequential(nn.ConvTranspose2d(channels_in, channels, kernel_size=2, stride=2))}
        )
        self.conv_layer = ConvBlock(2 * channels, channels)
        self.conv_bridge_layer = nn.ModuleDict({"block": nn.Sequential(*_convolution(channels, channels))})

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        """Return features of twice the sides of `x`, which are those of `beside`."""
        joined = torch.cat([self.up_layer["block"](x), self.conv_bridge_layer["block"](beside)], dim=1)
        return self.conv_layer(joined)


class UNet(nn.Module):
    """A U-Net.

    Args:
        channels_in: Channels of the input.
        classes: Channels of the logits.
        widths: Channels of each level, from the full sides down.
    """

    def __init__(self, channels_in: int, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        steps = list(pairwise(widths))
        self.first = ConvBlock(channels_in, widths[0])
        self.down_path = nn.ModuleList(ConvBlock(above, below, halve=True) for above, below in steps)
        self.up_path = nn.ModuleList(UpBlock(below, above) for above, below in reversed(steps))
        self.final = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, float32 (B, classes, H, W)."""
        levels = [self.first(x)]
        for down in self.down_path:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up in self.up_path:
            x = up(x, levels.pop())
        return self.final(x)


class WNet(nn.Module):
    """Two U-Nets; the second gets the photograph and the first one's logits, as they are.

    Args:
        classes: Channels of the logits: 1 (vessel) or 4 (background, uncertain, artery, vein).
        widths: Channels of each level.
    """

    def __init__(self, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.unet1 = UNet(3, classes, widths)
        self.unet2 = UNet(3 + classes, classes, widths)

    def forward(self, photographs: Tensor) -> Tensor:
        """Return the logits of the second U-Net.

        Args:
            photographs: RGB of 0 to 1, not normalised, float32 (B, 3, H, W); H and W are multiples of
                2 ** (levels - 1).

        Returns:
            float32, (B, classes, H, W).
        """
        return self.unet2(torch.cat([photographs, self.unet1(photographs)], dim=1))


def _convolution(channels_in: int, channels: int) -> list[nn.Module]:
    # The published order: the normalisation comes after the activation.
    return [nn.Conv2d(channels_in, channels, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(channels)]
