"""The tokens of any encoder: those of a vision transformer, or the cells of a feature map.

And where they are replaced: what an encoder makes of the pixels first (its patch embedding, its stem) is set to zero
at some cells of the last grid, before position embeddings are added.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from retinai.encoders.encoder import Encoder


class Tokens(NamedTuple):
    """What an encoder says of each part of a photograph.

    Args:
        values: Tokens after the final norm, (B, P + h w, D): P prefix tokens (class token, registers), then the cells
            row by row.
        grid: h and w, in cells.
    """

    values: Tensor
    grid: tuple[int, int]

    @property
    def cells(self) -> Tensor:
        """The tokens without prefix, (B, h w, D)."""
        return self.values[:, self.values.shape[1] - self.grid[0] * self.grid[1] :]

    @property
    def pooled(self) -> Tensor:
        """The mean of the cells, (B, D)."""
        return self.cells.mean(dim=1)


def tokens_of(encoder: Encoder, images: Tensor, replaced: Tensor | None = None) -> Tokens:
    """Return the tokens of photographs.

    Args:
        encoder: Any encoder; of one without tokens the cells of its feature map are the tokens.
        images: Normalised photographs, (B, 3, S, S).
        replaced: Which cells are set to zero after the first layer, bool (B, h, w); None for none.
    """
    images = images.contiguous(memory_format=encoder.memory_format)
    first = None if replaced is None else first_layer(encoder)
    if replaced is not None and first is None:
        images = _photographs_without(images, replaced)  # zero is the mean of normalised pixels
    with _replacing(first, replaced, encoder):
        net: Any = encoder.net
        if encoder.tokens and hasattr(net, "num_prefix_tokens"):
            values = net.forward_features(images)
            height, width = net.patch_embed.grid_size
            return Tokens(values, (int(height), int(width)))
        cells = encoder.feature_map(images)
        return Tokens(cells.flatten(2).transpose(1, 2), (int(cells.shape[2]), int(cells.shape[3])))


def first_layer(encoder: Encoder) -> nn.Module | None:
    """Return the layer whose output stands for the patches: the patch embedding, else the last layer of the stem.

    Returns:
        None where an encoder has no stem; cells of its photographs are replaced instead.
    """
    net: Any = encoder.net
    if isinstance(getattr(net, "patch_embed", None), nn.Module):
        return net.patch_embed
    stem = encoder.blocks()[0]
    return net.get_submodule(stem[-1].rpartition(".")[0]) if stem else None


@contextmanager
def _replacing(layer: nn.Module | None, replaced: Tensor | None, encoder: Encoder) -> Iterator[None]:
    """Set cells of a layer's output to zero while it is called."""
    if layer is None or replaced is None:
        yield
        return
    handle = layer.register_forward_hook(lambda _layer, _inputs, output: without_cells(output, replaced, encoder))
    try:
        yield
    finally:
        handle.remove()


def without_cells(output: Tensor, replaced: Tensor, encoder: Encoder) -> Tensor:
    """Return a layer's output, tokens (B, h w, D) or a map in whatever order, with zeros at cells (B, h, w)."""
    if output.ndim == 3:  # patches, before class token and registers join them
        return output.masked_fill(replaced.flatten(1).unsqueeze(-1), 0)
    changed = output.clone()
    cells = encoder.to_map(changed)  # a view
    cells.masked_fill_(_finer(replaced, cells), 0)
    return changed


def _photographs_without(images: Tensor, replaced: Tensor) -> Tensor:
    """Return photographs (B, 3, S, S) with zeros at the replaced cells."""
    return images.masked_fill(_finer(replaced, images), 0)


def _finer(replaced: Tensor, like: Tensor) -> Tensor:
    """Return cells (B, h, w) at the resolution of a map (B, C, H, W), as (B, 1, H, W)."""
    fine = interpolate(replaced.unsqueeze(1).to(torch.uint8), size=like.shape[2:], mode="nearest")
    return fine.bool()
