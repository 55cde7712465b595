"""Persistence images as a key of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retinai.data.photographs.field_of_view import prepare_photograph
from retinai.data.photographs.images import read_photograph
from retinai.topology.cache import TopologyCache
from retinai.topology.persistence import engine, persistence_images
from retinai.topology.settings import TopologySettings

if TYPE_CHECKING:
    from retinai.data.photographs.preprocessing import Preprocessing


class TopologyField:
    """The batch key `topology`: float32 (B, 4, R, R), from the cache or computed on the way.

    Args:
        settings: Which images.
        cache_dir: Folder of what `retinai prepare` computed; None computes always.
        preprocessing: How photographs are prepared for the network that takes the images; needed with a cache.
        name: The batch key.

    Raises:
        MissingExtraError: If gudhi is not installed.
    """

    moves = False

    def __init__(
        self,
        settings: TopologySettings,
        cache_dir: str | Path | None = None,
        preprocessing: Preprocessing | None = None,
        name: str = "topology",
    ) -> None:
        engine()  # missing gudhi is told before anything is read
        self.name = name
        self.settings = settings
        self.preprocessing = preprocessing
        self.cache: TopologyCache | None = None
        if cache_dir is not None:
            if preprocessing is None:
                raise ValueError("a cache of topology belongs to prepared photographs: give preprocessing too")
            self.cache = TopologyCache(cache_dir, preprocessing, settings)

    def load(self, id: str, path: str, photograph: np.ndarray) -> np.ndarray:
        """Return the persistence images of one photograph, float32 (4, R, R).

        A photograph of another side than `preprocessing` says was prepared for another network (a student's,
        while the images are its teacher's); it is then read anew.
        """
        kept = self.cache.load(path) if self.cache is not None else None
        if kept is not None:
            return kept
        if self.preprocessing is not None and len(photograph) != self.preprocessing.input_size:
            photograph = prepare_photograph(read_photograph(path), self.preprocessing)
        return persistence_images(photograph, self.settings)

    def collate(self, values: list[Any]) -> Any:
        """Return the images of B photographs as a tensor, float32 (B, 4, R, R)."""
        import torch

        return torch.from_numpy(np.stack(values))
