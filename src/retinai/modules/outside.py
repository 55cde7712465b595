"""Features of photographs, their distance from those of the training as tensors, and the stage that describes these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from retinai.modules.stages import Stage, StageContext
from retinai.prediction.outside import DISTANCE, OUTSIDE, KnownFeatures
from retinai.prediction.steps import PredictionStep, Probabilities

_FEATURES = "features"


class Distance(nn.Module):
    """The distance of features from those of the training, as `KnownFeatures.distances` has it, in float32.

    Args:
        known: What they are like.
    """

    mean: Tensor
    components: Tensor
    scales: Tensor

    def __init__(self, known: KnownFeatures) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(known.mean.copy()))
        self.register_buffer("components", torch.from_numpy(known.components.copy()))
        # Scaled before they are squared, so that nothing grows beyond float32.
        self.register_buffer("scales", torch.from_numpy(1 / np.sqrt(known.variances) / known.limit).float())
        self.rest = float(1 / np.sqrt(known.noise) / known.limit)

    def forward(self, features: Tensor) -> Tensor:
        """Return distances in units of the limit, float32, (B, 1), from pooled features (B, F)."""
        centred = features.float() - self.mean
        along = centred @ self.components.T
        rest = centred - along @ self.components
        squared = ((along * self.scales) ** 2).sum(1, keepdim=True) + ((rest * self.rest) ** 2).sum(1, keepdim=True)
        return squared.sqrt()


@contextmanager
def pooling_by(network: Any, pooled: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Have an `ImageClassifier` pool photographs by another function in the block."""
    before = network.__dict__.get("pooled")
    network.pooled = pooled
    try:
        yield
    finally:
        if before is None:
            del network.pooled
        else:
            network.pooled = before


@contextmanager
def first_features(network: Any) -> Iterator[list[Tensor]]:
    """Keep the features that a network pools first in the block, (B, F): those of the photographs as they are."""
    seen: list[Tensor] = []
    compute = network.pooled

    def pooled(images: Tensor) -> Tensor:
        features = compute(images)
        if not seen:
            seen.append(features)
        return features

    with pooling_by(network, pooled):
        yield seen


class ProbabilitiesAndDistance(Probabilities):
    """`probability` (B, C), and `distance` (B,) in units of the limit."""

    name = "probabilities and distance"

    def __init__(self, known: KnownFeatures) -> None:
        self.distance = Distance(known)

    def run(self, module: Any, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Run the network once for both."""
        with first_features(module.network) as seen:
            given = super().run(module, batch, found)
        return {**given, DISTANCE: self.distance.to(seen[0].device)(seen[0])[:, 0]}


class _Features(PredictionStep):
    """`features` (B, F), pooled, as the network grades from them."""

    name = "features"

    def run(self, module: Any, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        return {_FEATURES: module.network.pooled(module.network_inputs(batch)[0]).float()}


class DescribeTraining(Stage):
    """Describe the features of training photographs, and write the limit beyond which one lies outside."""

    name = "describe the training photographs"
    switch: ClassVar[str | None] = "calibrate"
    splits = ("val",)

    def run(self, context: StageContext) -> None:
        """Fit, store and say where nothing could be chosen."""
        from retinai.modules.checkpoint import store_metadata
        from retinai.prediction.outside import fit_outside
        from retinai.prediction.predictor import Predictor
        from retinai.prediction.splits import ordered_loader

        predictor = Predictor(context.load_best())
        trained, validated = (
            predictor.run(loader, [_Features()], total=len(loader.dataset))[_FEATURES]  # type: ignore[arg-type]
            for loader in (ordered_loader(context.datamodule, split) for split in ("train", "val"))
        )
        known, notes = fit_outside(trained, validated)
        path = context.folder / "checkpoints" / "best.ckpt"
        store_metadata(path, OUTSIDE, None if known is None else known.to_dict())
        context.say(notes)
        context.notes.extend(notes)
