"""Persistence images as a key of sample and batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.errors import ConfigError
from retinai.topology.cache import TopologyCache
from retinai.topology.persistence import engine, persistence_images
from retinai.topology.settings import CHANNELS, TopologySettings


class TopologyField(SampleField):
    """Persistence images, float32 (B, 4, R, R), from the cache of the data set or computed on the way.

    Args:
        settings: Which images: `TopologySettings` or its dict.

    Raises:
        ConfigError: If the settings say that there are none.
        MissingExtraError: If gudhi is not installed.
    """

    name = "topology"

    def __init__(self, settings: TopologySettings | Mapping[str, Any]) -> None:
        engine()  # missing gudhi is told before anything is read
        self.settings = TopologySettings.from_dict(settings) if isinstance(settings, Mapping) else settings
        if not self.settings.on:
            raise ConfigError(["topology=none gives no persistence images"])
        self.cache: TopologyCache | None = None

    def __str__(self) -> str:
        return str(self.settings)

    def bind(self, data: FieldContext) -> TopologyField:
        """Return the field with the cache of what `retinai prepare` computed."""
        bound = copy.copy(self)
        bound.cache = TopologyCache(data.cache_dir, data.preprocessing, self.settings)
        return bound

    def load(self, sample: FieldSample) -> np.ndarray:
        """Return the persistence images of one photograph before augmentation, float32 (4, R, R)."""
        kept = self.cache.load(sample.path) if self.cache is not None else None
        return kept if kept is not None else persistence_images(sample.photograph, self.settings)

    def collate(self, values: list[np.ndarray]) -> np.ndarray:
        """Return the images of B photographs, float32 (B, 4, R, R)."""
        return np.stack(values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the images of one photograph."""
        return len(CHANNELS), self.settings.resolution, self.settings.resolution

    def key(self) -> str:
        """Return a short key of all that decides the images."""
        return f"{self.name}-{self.settings.key()}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return super().to_dict() | {"settings": self.settings.to_dict()}
