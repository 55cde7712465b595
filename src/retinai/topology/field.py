"""Persistence images as a key of sample and batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import ConfigError
from retinai.topology.cache import TopologyCache
from retinai.topology.persistence import engine, persistence_images
from retinai.topology.settings import CHANNELS, TopologySettings


class TopologyField(SampleField):
    """Persistence images, float32 (B, 4, R, R), from the cache of the data set or computed on the way.

    Args:
        settings: Which images: `TopologySettings` or its dict.
        preprocessing: How the photograph is prepared for the network that takes the images (`Preprocessing` or its
            dict), where that is another one than the input's (a teacher's); None: the input itself.
        name: Key of sample and batch.
        splits: The parts whose samples carry it.

    Raises:
        ConfigError: If the settings say that there are none.
        MissingExtraError: If gudhi is not installed.
    """

    def __init__(
        self,
        settings: TopologySettings | Mapping[str, Any],
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
        name: str = "topology",
        splits: Sequence[str] = SampleField.splits,
    ) -> None:
        engine()  # missing gudhi is told before anything is read
        self.name = name
        self.splits = tuple(splits)
        self.settings = TopologySettings.from_dict(settings) if isinstance(settings, Mapping) else settings
        if not self.settings.on:
            raise ConfigError(["topology=none gives no persistence images"])
        given = preprocessing
        self.preprocessing = Preprocessing.from_dict(dict(given)) if isinstance(given, Mapping) else given
        self.cache: TopologyCache | None = None

    def __str__(self) -> str:
        return str(self.settings)

    def bind(self, data: FieldContext) -> TopologyField:
        """Return the field with the cache of what `retinai prepare` computed."""
        bound = copy.copy(self)
        bound.cache = TopologyCache(data.cache_dir, self.preprocessing or data.preprocessing, self.settings)
        return bound

    def load(self, sample: FieldSample) -> np.ndarray:
        """Return the persistence images of one photograph before augmentation, float32 (4, R, R)."""
        kept = self.cache.load(sample.path) if self.cache is not None else None
        if kept is not None:
            return kept
        photograph = sample.photograph if self.preprocessing is None else sample.prepared(self.preprocessing)
        return persistence_images(photograph, self.settings)

    def collate(self, values: list[np.ndarray]) -> np.ndarray:
        """Return the images of B photographs, float32 (B, 4, R, R)."""
        return np.stack(values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the images of one photograph."""
        return len(CHANNELS), self.settings.resolution, self.settings.resolution

    def key(self) -> str:
        """Return a short key of all that decides the images."""
        pixels = "" if self.preprocessing is None else f"-{self.preprocessing.pixel_key()}"
        return f"{self.name}-{self.settings.key()}{pixels}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        own: dict[str, Any] = {"settings": self.settings.to_dict(), "name": self.name, "splits": list(self.splits)}
        if self.preprocessing is not None:
            own["preprocessing"] = self.preprocessing.to_dict()
        return super().to_dict() | own
