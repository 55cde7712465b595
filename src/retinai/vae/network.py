"""The variational autoencoder: strided convolutions down to a Gaussian of a few numbers, and back up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from retinai.errors import ConfigError


class Vae(nn.Module):
    """Photographs to a Gaussian over latent numbers, and latent numbers to photographs.

    Args:
        side: Side of the photographs in pixels; a multiple of 2 to the number of `widths`.
        widths: Channels after each block; a block halves the side.
        latent: Latent numbers.
        conditions: Numbers that say what is on a photograph (one per class), given to both halves; 0 for none.

    Raises:
        ConfigError: If the side cannot be halved that often.

    Source: Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014; conditional as in Sohn, Lee & Yan,
        "Learning Structured Output Representation using Deep Conditional Generative Models", NeurIPS 2015.
    """

    def __init__(self, side: int, widths: Sequence[int], latent: int, conditions: int = 0) -> None:
        super().__init__()
        if not widths or side % 2 ** len(widths) or side < 2 ** len(widths):
            blocks = len(widths)
            raise ConfigError(
                [f"backbone.input_size={side} cannot be halved {blocks} times; give a multiple of {2**blocks}"]
            )
        self.latent, self.conditions = latent, conditions
        cells = side // 2 ** len(widths)
        self.map_shape = (widths[-1], cells, cells)
        numbers = widths[-1] * cells * cells
        self.down = nn.Sequential(*(_halve(a, b) for a, b in zip([3, *widths[:-1]], widths, strict=True)))
        self.to_gaussian = nn.Linear(numbers + conditions, 2 * latent)
        self.from_latent = nn.Linear(latent + conditions, numbers)
        rising = [*widths[::-1], widths[0]]
        self.up = nn.Sequential(
            *(_double(a, b) for a, b in pairwise(rising)),
            nn.Conv2d(widths[0], 3, 3, padding=1),
        )

    def encode(self, pixels: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logarithm of the variance of the latent Gaussian, each (B, latent).

        Args:
            pixels: (B, 3, side, side), 0 to 1.
            conditions: (B, conditions).
        """
        found = self.to_gaussian(torch.cat([self.down(pixels).flatten(1), conditions], dim=1))
        mean, log_variance = found.chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)  # beyond, the variance is no number that anything is learned from

    def decode(self, latent: Tensor, conditions: Tensor) -> Tensor:
        """Return photographs, (B, 3, side, side), 0 to 1, of latent numbers (B, latent)."""
        start = self.from_latent(torch.cat([latent, conditions], dim=1)).unflatten(1, self.map_shape)
        return torch.sigmoid(self.up(start))


def _halve(into: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(into, out, 4, stride=2, padding=1), nn.BatchNorm2d(out), nn.LeakyReLU(0.2))


def _double(into: int, out: int) -> nn.Module:
    # Enlarged and then convolved: a transposed convolution leaves a chessboard (Odena et al., Distill 2016).
    return nn.Sequential(
        nn.Upsample(scale_factor=2), nn.Conv2d(into, out, 3, padding=1), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)
    )


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)) of each photograph in nats, (B,).

    Source: Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
