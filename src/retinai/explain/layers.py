"""Which map of a network is explained: the last one by default, any layer by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from retinai.encoders.encoder import Encoder
from retinai.errors import UserError

LAST = "last"
_LEAST_CELLS = 2


class WatchedMap:
    """A layer's output in a forward pass, as a map of features.

    Attributes:
        features: What the layer gave, part of the graph; None before the pass.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.features: Tensor | None = None

    def hook(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        """Keep the output of a layer."""
        self.features = output[0] if isinstance(output, tuple) else output

    def to_map(self, features: Tensor) -> Tensor:
        """Return features of the layer as (B, K, h, w), whatever its layout; prefix tokens are left out.

        Raises:
            UserError: If they are no map, or a map of a single cell.
        """
        as_map = features if features.ndim == 4 and not self._channels_last() else self._from_tokens(features)
        if min(as_map.shape[2:]) < _LEAST_CELLS:
            raise UserError(
                f"the map is {as_map.shape[2]} x {as_map.shape[3]} cells, too coarse to say where; choose an earlier "
                "layer=, or a network with a larger backbone.input_size"
            )
        return as_map

    def _channels_last(self) -> bool:
        return bool(getattr(self.encoder, "channels_last_features", False))

    def _from_tokens(self, features: Tensor) -> Tensor:
        if features.ndim == 4:
            return features.permute(0, 3, 1, 2)
        if features.ndim != 3:
            raise UserError(f"the layer's output has the shape {tuple(features.shape)}, which is no map of cells")
        encoder: Any = self.encoder
        height, width = encoder.grid_size
        return features[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))


def layer_names(encoder: Encoder) -> list[str]:
    """Return the names of the layers that can be asked for: the children of `net` and of its lists of blocks."""
    names = []
    for name, child in encoder.net.named_children():
        parts = list(child.named_children()) if isinstance(child, nn.Sequential | nn.ModuleList) else []
        names += [name, *(f"{name}.{number}" for number, _ in parts)]
    return names


def find_layer(encoder: Encoder, layer: str) -> nn.Module:
    """Return the layer whose output is explained.

    `last` of a convolutional network is the map before attention and pooling; of networks of tokens it is the input of
    the last block's attention: where a class token is read, the last output has no gradient at the patches.

    Args:
        encoder: The encoder of the network.
        layer: `last`, or the name of a layer of `encoder.net`.

    Raises:
        UserError: If there is no such layer; names those that there are.
    """
    net: Any = encoder.net
    if layer == LAST:
        if encoder.tokens:
            return net.blocks[-1].norm1
        if getattr(encoder, "channels_last_features", False):
            return net.layers[-1].blocks[-1].norm1
        return _last_before_pooling(encoder)
    found = dict(net.named_modules()).get(layer)
    if not layer or found is None:
        names = layer_names(encoder)
        shown = ", ".join([LAST, *names[:30]]) + (" ..." if len(names) > 30 else "")
        raise UserError(f"layer={layer} does not exist in {encoder.name}; there are: {shown}")
    return found


def _last_before_pooling(encoder: Encoder) -> nn.Module:
    """Return the part of a network that is called last when it makes its feature map, found by one small pass."""
    called: list[nn.Module] = []
    handles = [m.register_forward_hook(lambda m, i, o: called.append(m)) for m in encoder.net.children()]
    side, device, training = encoder.preprocessing.input_size, next(encoder.parameters()).device, encoder.training
    try:
        with torch.no_grad():
            encoder.eval().feature_map(torch.zeros(1, 3, side, side, device=device))
    finally:
        encoder.train(training)
        for handle in handles:
            handle.remove()
    return called[-1]


@contextmanager
def watch(encoder: Encoder, layer: nn.Module) -> Iterator[WatchedMap]:
    """Keep the output of a layer of a forward pass inside; no hook is left behind.

    Args:
        encoder: The encoder of the network.
        layer: One of its layers, see `find_layer`.
    """
    watched = WatchedMap(encoder)
    handle = layer.register_forward_hook(watched.hook)
    try:
        yield watched
    finally:
        handle.remove()
