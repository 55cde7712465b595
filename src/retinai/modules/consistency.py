"""Consistency under rotation: f(x) close to f(rotate(x)), for a retina has no upright."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import ConfigError


@dataclass(frozen=True)
class ConsistencySettings:
    """Whether and how strongly predictions are asked not to change when a photograph is turned.

    Args:
        name: `none` or `rotation`.
        weight: What the symmetric divergence between the two predictions is multiplied by, at least 0.
        degrees: Angles are drawn evenly from -degrees to degrees, above 0 up to 180.

    Raises:
        ConfigError: If a value is out of range.
    """

    name: str = "none"
    weight: float = 1.0
    degrees: float = 180.0

    def __post_init__(self) -> None:
        problems = []
        if self.name not in ("none", "rotation"):
            problems.append(f"consistency.name={self.name} is unknown; valid: none, rotation")
        if self.weight < 0:
            problems.append(f"consistency.weight={self.weight} must be 0 or more")
        if not 0 < self.degrees <= 180:
            problems.append(f"consistency.degrees={self.degrees} is out of range (above 0, up to 180)")
        if problems:
            raise ConfigError(problems)

    @property
    def on(self) -> bool:
        """Whether it has an effect."""
        return self.name != "none" and self.weight > 0


def draw_angles(count: int, degrees: float) -> Tensor:
    """Return angles in degrees, shape (count,), from torch's generator on the CPU, which each batch seeds anew."""
    return (2 * torch.rand(count) - 1) * degrees


def background(preprocessing: Preprocessing) -> Tensor:
    """Return what lies outside the field of view in normalised photographs, shape (3,)."""
    return (preprocessing.outside / 255 - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std)


def rotate(images: Tensor, angles: Tensor, fill: Tensor) -> Tensor:
    """Return photographs turned counter-clockwise about their centre, sampled bilinearly.

    Args:
        images: Shape (B, C, S, S).
        angles: Degrees, shape (B,).
        fill: What comes into the corners, per channel, shape (C,).

    Returns:
        Shape (B, C, S, S).
    """
    turns = (angles.to(images.device, torch.float32) * (math.pi / 180)).unsqueeze(1)
    cos, sin, zero = turns.cos(), turns.sin(), torch.zeros_like(turns)
    matrices = torch.cat([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False).to(images.dtype)
    fill = fill.to(images).view(1, -1, 1, 1)
    # grid_sample can only fill with 0, so the colour of the corners is moved to 0 and back.
    turned = functional.grid_sample(images - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return turned + fill
