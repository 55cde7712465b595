"""The exported graph: prepared pixels in, class probabilities out, of one network or of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from retinai.data.photographs.normalise import scale_and_shift
from retinai.encoders.lora import merged
from retinai.ensembles.module import EnsembleGrader
from retinai.export.scaling import scaled
from retinai.modules.outside import Distance
from retinai.prediction.outside import DISTANCE
from retinai.runtime.folder import MEMBERS, PHOTOGRAPH, PROBABILITY

if TYPE_CHECKING:
    from retinai.data.loading.fields import SampleField
    from retinai.data.photographs.preprocessing import Preprocessing
    from retinai.modules.classifier import Classifier


class Graph(nn.Module):
    """What can be written: inputs and outputs by name.

    Attributes:
        module: What it was made of.
        fields: What it reads beside the photograph, in order.
        outputs: Name and shape of each output, the batch left out.
    """

    module: Any
    fields: list[SampleField]
    outputs: dict[str, tuple[int, ...]]

    def example(self, batch: int = 2) -> dict[str, Tensor]:
        """Return inputs of the right shapes, by name; two photographs, since one may be traced as a constant."""
        side = self.module.preprocessing.input_size
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8, generator=generator)
        shapes = {field.name: field.shape or () for field in self.fields}
        return {PHOTOGRAPH: pixels} | {n: torch.rand(batch, *s, generator=generator) for n, s in shapes.items()}


def make_graph(module: Classifier | EnsembleGrader, distance: bool = False) -> Graph:
    """Return the graph of a trained grader, in evaluation mode.

    Args:
        module: The grader.
        distance: Give the distance from the training photographs too, where the checkpoint describes them.
    """
    if isinstance(module, EnsembleGrader):
        return MeanOfNetworks(module, distance).eval()
    if distance and module.outside is not None:
        return PixelsToProbabilitiesAndDistance(module).eval()
    return PixelsToProbabilities(module).eval()


class NormalisedPixels(nn.Module):
    """The first step of a graph: prepared pixels become what a network takes.

    The pixels stay bytes with the channels last until they are inside: a quarter of the memory to move, and nobody
    can normalise them wrongly.

    Args:
        preprocessing: With the mean and the standard deviation of the network.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        scale, shift = scale_and_shift(preprocessing)
        self.register_buffer("scale", torch.from_numpy(scale).view(1, 3, 1, 1))
        self.register_buffer("shift", torch.from_numpy(shift).view(1, 3, 1, 1))

    def forward(self, photograph: Tensor) -> Tensor:
        """Return normalised photographs, float32, (B, 3, S, S), of prepared pixels, uint8, (B, S, S, 3)."""
        return photograph.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift


class PixelsToProbabilities(Graph):
    """Normalisation, network, and what the loss makes of the logits, in one graph.

    Flips at test time, where the checkpoint asks for them, are inside too. Adapters are
    merged into the weights of a copy, so that the folder is compared with the checkpoint as it is.

    Args:
        module: A trained classifier, in evaluation mode.
    """

    def __init__(self, module: Classifier) -> None:
        super().__init__()
        module = merged(module)
        module.network.use_memory_format(torch.contiguous_format)  # strides of another order become steps of the graph
        self.module = module
        self.fields = module.photograph_fields()
        self.outputs = {PROBABILITY: (module.task.num_classes,)}
        self.normalise = NormalisedPixels(module.preprocessing)

    def forward(self, photograph: Tensor, *values: Tensor) -> Tensor:
        """Return class probabilities, float32, (B, C).

        Args:
            photograph: Prepared pixels, uint8, (B, S, S, 3).
            values: What the module reads beside them, float32 (B, ...), in the order of `fields`.
        """
        seen, more, count = self.views(photograph, values)
        return self.mean_of(self.module(seen, *more), count)

    def views(self, photograph: Tensor, values: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], int]:
        """Return normalised photographs and their flips one after another, what is read beside them, and how many."""
        views = self.module.views(self.normalise(photograph))
        # One pass over all views: a pass for each would put the network into the graph as often.
        more = [torch.cat([value] * len(views)) if len(views) > 1 else value for value in values]
        return views[0] if len(views) == 1 else torch.cat(views), more, len(views)

    def mean_of(self, logits: Tensor, count: int) -> Tensor:
        """Return the mean probabilities over views, float32, (B, C)."""
        probabilities = self.module.criterion.probabilities(logits).float()
        return probabilities.unflatten(0, (count, -1)).mean(dim=0) if count > 1 else probabilities


class PixelsToProbabilitiesAndDistance(PixelsToProbabilities):
    """The same with a second output: how far the photograph lies from those of the training.

    Args:
        module: A trained classifier that describes its training photographs, in evaluation mode.
    """

    def __init__(self, module: Classifier) -> None:
        super().__init__(module)
        assert module.outside is not None
        self.distance = Distance(module.outside)
        self.outputs[DISTANCE] = (1,)

    def forward(self, photograph: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return class probabilities (B, C) and distances in units of the limit (B, 1), float32."""
        seen, more, count = self.views(photograph, values)
        features = self.module.network.pooled(seen)
        own = features.unflatten(0, (count, -1))[0] if count > 1 else features
        return self.mean_of(self.module.network.classify(features, *more), count), self.distance(own)


class MeanOfNetworks(Graph):
    """The networks of an ensemble in one graph: the mean of their calibrated probabilities, and those of each.

    Args:
        module: The ensemble, in evaluation mode.
        distance: Give the mean of their distances from the training photographs too, where a limit was chosen.
    """

    networks: Any

    def __init__(self, module: EnsembleGrader, distance: bool = False) -> None:
        super().__init__()
        self.module = module
        members: list[Any] = module.members
        self.limit = module.outside.limit if distance and module.outside is not None else None
        kind = PixelsToProbabilities if self.limit is None else PixelsToProbabilitiesAndDistance
        self.networks = nn.ModuleList(kind(member) for member in members)
        self.fields = module.photograph_fields()
        classes = module.task.num_classes
        self.outputs = {PROBABILITY: (classes,), MEMBERS: (len(module.members), classes)}
        if self.limit is not None:
            self.outputs[DISTANCE] = (1,)

    def forward(self, photograph: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """Return probabilities, float32: their mean (B, C), and those of each of M members (B, M, C).

        Then the distance in units of the limit, (B, 1), where that is given.

        Args:
            photograph: Prepared pixels, uint8, (B, S, S, 3).
            values: What any member reads beside them, float32 (B, ...), in the order of `fields`.
        """
        given = {field.name: value for field, value in zip(self.fields, values, strict=True)}
        each, far = [], []
        for network, member in zip(self.networks, self.module.members, strict=True):
            own = [given[field.name] for field in network.fields]
            found = network(photograph, *own)
            probabilities, *distance = found if isinstance(found, tuple) else (found,)
            each.append(scaled(probabilities, member.calibration))
            far += distance
        members = torch.stack(each, dim=1)
        if self.limit is None:
            return members.mean(dim=1), members
        return members.mean(dim=1), members, torch.stack(far).mean(dim=0) / self.limit
