"""Predictions of a checkpoint for every variant of every photograph; each photograph is decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from retinai.data.loading.dataset import Collate
from retinai.data.loading.fields import SampleField
from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.original import Original
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.prediction.predictor import Predictor
from retinai.prediction.reading import read_original
from retinai.prediction.steps import PROBABILITY, Probabilities
from retinai.quality import Quality, judge
from retinai.stress.variants import Variant, vary

if TYPE_CHECKING:
    from retinai.modules.grading import GradingModule

# Number of the photograph, the samples of its variants (None where one shows no retina any more), its quality, size.
Shown = tuple[int, list[dict[str, Any] | None], Quality | None, tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Stressed:
    """What came of V variants of N photographs.

    Args:
        variants: V.
        probabilities: Shape (V, N, C), as the network gives them; NaN where a variant shows no retina any more.
        qualities: The verdict on each photograph as it is, N.
        sizes: Width and height of each photograph, N.
    """

    variants: list[Variant]
    probabilities: NDArray[np.float64]
    qualities: list[Quality | None]
    sizes: list[tuple[int, int]]


class Variants(Dataset[Shown]):
    """Photographs, each with all its variants prepared.

    A variant is made of the copy that is decoded for the network, so that the photograph as it is has the very pixels
    that every other command gives the network.

    Args:
        paths: The photographs.
        variants: How each is shown.
        preprocessing: How a photograph becomes the input.
        fields: What the network reads beside it.
    """

    def __init__(
        self, paths: Sequence[str], variants: Sequence[Variant], preprocessing: Preprocessing,
        fields: Sequence[SampleField],
    ) -> None:  # fmt: skip
        self.paths, self.variants = list(paths), list(variants)
        self.preprocessing, self.fields = preprocessing, list(fields)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Shown:
        original = Original.read(self.paths[index])
        copy = original.copy_for(self.preprocessing)
        view = copy.field_of_view
        shown = [self._sample(vary(copy.pixels, variant, index, view), variant.name) for variant in self.variants]
        quality = judge(copy.pixels, view) if view.found else None
        return index, shown, quality, (original.header.width, original.header.height)

    def _sample(self, pixels: NDArray[np.uint8], name: str) -> dict[str, Any] | None:
        try:
            image, values = read_original(Original(pixels, name), self.preprocessing, self.fields)
        except BadImageError:
            return None
        return {"image": image, "id": name, **values}


def predict_variants(
    module: GradingModule, table: pd.DataFrame, variants: Sequence[Variant], workers: int, accelerator: str
) -> Stressed:
    """Predict all variants of photographs, with a progress bar.

    Args:
        module: A trained module.
        table: Rows of the label table.
        variants: How each photograph is shown.
        workers: Processes that read and change photographs.
        accelerator: `auto`, `gpu` or `cpu`.
    """
    fields = module.photograph_fields()
    collate = Collate(module.preprocessing, module.task, fields)
    dataset = Variants(table["path"].astype(str).tolist(), variants, module.preprocessing, fields)
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
    probabilities = np.full((len(variants), len(table), module.task.num_classes), np.nan)
    qualities: list[Quality | None] = [None] * len(table)
    sizes = [(0, 0)] * len(table)
    places: list[tuple[int, list[int]]] = []

    def batches() -> Iterator[dict[str, Any]]:
        for index, shown, quality, size in loader:
            qualities[index], sizes[index] = quality, size
            kept = [number for number, sample in enumerate(shown) if sample is not None]
            if kept:
                places.append((index, kept))
                yield collate([shown[number] for number in kept])

    found = Predictor(module, accelerator).stream(batches(), [Probabilities()], len(table) * len(variants))
    waiting: list[NDArray[np.float64]] = []
    for _, results in found:
        waiting.append(results[0][PROBABILITY])
        index, kept = places[0]
        if sum(map(len, waiting)) == len(kept):  # a batch may come in parts
            probabilities[kept, index] = np.concatenate(waiting)
            places.pop(0)
            waiting.clear()
    return Stressed(list(variants), probabilities, qualities, sizes)
