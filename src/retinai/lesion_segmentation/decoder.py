"""From an encoder's maps to masks: a feature pyramid (torchvision's), its levels added up, one plane per mask."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork

_GROUPS = 8
# Share of a photograph's pixels that a mask covers before anything is learned: else the first steps only unlearn it.
_SHARE_AT_FIRST = 0.01


class MaskDecoder(nn.Module):
    """Turns maps of several sizes into logits of masks.

    torchvision's pyramid and not a decoder of segmentation_models_pytorch: that one brings encoders of its own, while
    here the encoder is the one that grades, and the pyramid takes the maps of any `Encoder`, whatever their number and
    sizes. Groups are normalised instead of batches, because few photographs of a batch have masks.

    Args:
        channels: Channels of the maps, from the finest to the coarsest.
        width: Channels of the pyramid, a multiple of 8.
        masks: Number of masks L.

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, section 3, with one convolution on the sum
        of the levels in place of one per level.
    """

    def __init__(self, channels: Sequence[int], width: int, masks: int) -> None:
        super().__init__()
        self.pyramid = FeaturePyramidNetwork(list(channels), width, norm_layer=lambda c: nn.GroupNorm(_GROUPS, c))
        self.merge = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(_GROUPS, width), nn.ReLU()
        )
        self.last = nn.Conv2d(width, masks, 1)
        bias = torch.full((masks,), math.log(_SHARE_AT_FIRST / (1 - _SHARE_AT_FIRST)))
        self.last.bias = nn.Parameter(bias)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Return logits, float32, (B, L, H, W).

        Args:
            maps: From the finest to the coarsest, each (B, C_i, h_i, w_i).
            size: Height and width of the photographs.
        """
        levels = list(self.pyramid(OrderedDict((str(i), one) for i, one in enumerate(maps))).values())
        finest = levels[0].shape[-2:]
        added = levels[0] + sum(_resized(level, finest) for level in levels[1:])
        return _resized(self.last(self.merge(added)).float(), size)


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return binary cross-entropy plus soft Dice loss, a scalar: what drawing N parts of photographs costs.

    Dice is taken over all parts together, so that one without a lesion counts for what is drawn on it wrongly.

    Args:
        logits: Shape (N, L, H, W), N >= 1.
        masks: 0 and 1, the same shape.

    Source: Milletari, Navab and Ahmadi, "V-Net", 2016, for the Dice loss (here without squares, and with 1 added above
        and below, so that it is defined where there is no lesion).
    """
    logits, masks = logits.float(), masks.float()
    probabilities = torch.sigmoid(logits)
    over = (0, 2, 3)
    shared = (probabilities * masks).sum(dim=over)
    dice = (2 * shared + 1) / (probabilities.sum(dim=over) + masks.sum(dim=over) + 1)
    return functional.binary_cross_entropy_with_logits(logits, masks) + (1 - dice).mean()


def _resized(values: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(values, size=tuple(size), mode="bilinear", align_corners=False)
