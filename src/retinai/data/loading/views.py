"""The same photograph for another network: prepared from the original in that network's way, varied alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.data.photographs.normalise import normalise
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import ConfigError


class PhotographView(SampleField):
    """The photograph as another network (a teacher) wants to see it.

    It is prepared from the original at its own size and varied like the input, so that the network that is trained
    gets the very pixels that it would get alone.

    Args:
        name: Key of sample and batch.
        preprocessing: `Preprocessing` of the other network, or its dict.
        splits: The parts whose samples carry it.
    """

    def __init__(
        self,
        name: str,
        preprocessing: Preprocessing | Mapping[str, Any],
        splits: Sequence[str] = SampleField.splits,
    ) -> None:
        self.name = name
        given = preprocessing
        self.preprocessing = given if isinstance(given, Preprocessing) else Preprocessing.from_dict(dict(given))
        self.splits = tuple(splits)

    def bind(self, data: FieldContext) -> PhotographView:
        """Return this field.

        Raises:
            ConfigError: If the two networks look at different parts of a photograph.
        """
        check_views(data.preprocessing, [self.preprocessing])
        return self

    def load(self, sample: FieldSample) -> np.ndarray:
        """Return the photograph, prepared and varied, uint8 (S, S, 3)."""
        way = self.preprocessing
        return sample.vary(sample.prepared(way), outside=way.outside)[0]

    def collate(self, values: list[np.ndarray]) -> np.ndarray:
        """Return the photographs of a batch, normalised, float32 (B, 3, S, S)."""
        return normalise(np.stack(values), self.preprocessing)

    def key(self) -> str:
        """Return a short key of what decides the pixels."""
        return f"{self.name}-{self.preprocessing.pixel_key()}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        own = {"name": self.name, "preprocessing": self.preprocessing.to_dict(), "splits": list(self.splits)}
        return super().to_dict() | own


def check_views(preprocessing: Preprocessing, views: Sequence[Preprocessing]) -> None:
    """Refuse networks that would look at different parts of a photograph.

    Size, interpolation and contrast may differ, because each view is prepared from the original; flips and
    rotations move two crops alike only where the crops are of one kind.

    Args:
        preprocessing: Of the network that is trained.
        views: Of the others (teachers).

    Raises:
        ConfigError: If a crop differs.
    """
    problems = [
        f"data.preprocess.crop={preprocessing.crop}, but the other network (a teacher) was trained "
        f"with {view.crop}; set data.preprocess.crop={view.crop}"
        for view in views
        if view.crop != preprocessing.crop
    ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
