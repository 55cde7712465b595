"""Which map of a network is explained: the last one by default, any layer by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
        as_map = self.encoder.to_map(features)
        if min(as_map.shape[2:]) < _LEAST_CELLS:
            raise UserError(
                f"the map is {as_map.shape[2]} x {as_map.shape[3]} cells, too coarse to say where; give the network "
                "a larger backbone.input_size, or let retinai explain look at an earlier layer="
            )
        return as_map


def layer_names(encoder: Encoder) -> list[str]:
    """Return the names of the layers that can be asked for: the children of `net` and of its lists of blocks."""
    names = []
    for name, child in encoder.net.named_children():
        parts = list(child.named_children()) if isinstance(child, nn.Sequential | nn.ModuleList) else []
        names += [name, *(f"{name}.{number}" for number, _ in parts)]
    return names


def find_layer(encoder: Encoder, layer: str) -> nn.Module:
    """Return the layer whose output is explained.

    Args:
        encoder: The encoder of the network.
        layer: `last` (see `Encoder.explained_layer`), or the name of a layer of `encoder.net`.

    Raises:
        UserError: If there is no such layer; names those that there are.
    """
    if layer == LAST:
        return encoder.explained_layer()
    found = dict(encoder.net.named_modules()).get(layer)
    if not layer or found is None:
        names = layer_names(encoder)
        shown = ", ".join([LAST, *names[:30]]) + (" ..." if len(names) > 30 else "")
        raise UserError(f"layer={layer} does not exist in {encoder.name}; there are: {shown}")
    return found


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
