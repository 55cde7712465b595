"""The exported graph: prepared pixels in, class probabilities out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from retinai.encoders.lora import merged
from retinai.runtime.folder import PHOTOGRAPH, TOPOLOGY

if TYPE_CHECKING:
    from retinai.modules.classifier import Classifier
    from retinai.topology.persistence import TopologySettings


class PixelsToProbabilities(nn.Module):
    """Normalisation, network, and what the loss makes of the logits, in one graph.

    The pixels stay bytes with the channels last until they are inside: a quarter of the memory to move, and nobody
    can normalise them wrongly. Flips at test time, where the checkpoint asks for them, are inside too. Adapters are
    merged into the weights of a copy, so that the folder is compared with the checkpoint as it is.

    Args:
        module: A trained classifier, in evaluation mode.
        topology: Settings of its persistence images, or None.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, module: Classifier, topology: TopologySettings | None) -> None:
        super().__init__()
        module = merged(module)
        module.network.use_memory_format(torch.contiguous_format)  # strides of another order become steps of the graph
        self.module = module
        self.topology = topology
        mean, std = torch.tensor(module.preprocessing.mean), torch.tensor(module.preprocessing.std)
        # The very numbers of `retinai.data.loading.dataset.Collate`.
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, photograph: Tensor, topology: Tensor | None = None) -> Tensor:
        """Return class probabilities, float32, (B, C).

        Args:
            photograph: Prepared pixels, uint8, (B, S, S, 3).
            topology: Persistence images, float32, (B, K, R, R), where the module reads them.
        """
        images = photograph.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        views = self.module.views(images)
        # One pass over all views: a pass for each would put the network into the graph as often.
        more = () if topology is None else (topology.repeat(len(views), 1, 1, 1),)
        seen = views[0] if len(views) == 1 else torch.cat(views)
        probabilities = self.module.criterion.probabilities(self.module(seen, *more)).float()
        return probabilities.unflatten(0, (len(views), -1)).mean(dim=0) if len(views) > 1 else probabilities

    def example(self, batch: int = 2) -> dict[str, Tensor]:
        """Return inputs of the right shapes, by name; two photographs, since one may be traced as a constant."""
        side = self.module.preprocessing.input_size
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8, generator=generator)
        inputs = {PHOTOGRAPH: pixels}
        if self.topology is not None:
            from retinai.topology.settings import CHANNELS

            cells = self.topology.resolution
            inputs[TOPOLOGY] = torch.rand(batch, len(CHANNELS), cells, cells, generator=generator)
        return inputs
