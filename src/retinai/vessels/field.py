"""Vessels as a key of sample and batch, and as regions of a prepared photograph."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from retinai.data.curation.file_index import FileIndex
from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.data.photographs.arrays import file_of, read_array, write_array
from retinai.data.photographs.prepared_pixels import prepare_masks
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import DataError
from retinai.vessels.class_map import regions
from retinai.vessels.methods import VesselSettings, open_method


class VesselField(SampleField):
    """`vessels`: the class map of a photograph, moved through its preparation and augmentation; uint8 (B, S, S).

    0 none, 1 artery, 2 vein, 3 both or uncertain. Class maps are found when they are asked for first, which takes
    seconds with networks, and are kept in the cache by the content of the photograph and all settings. Masks of a
    folder are read from there each time.

    Args:
        method: `wnet`, `wnet_vessels`, `sato` or `folder`, see `VesselSettings`.
        weights: Folder of the weights.
        masks: Folder of the masks.
        keys: The keys that give method and masks, to name in messages.

    Raises:
        UserError: If weights or masks are not there.
    """

    name = "vessels"

    def __init__(
        self,
        method: str = "wnet",
        weights: str = "weights",
        masks: str | None = None,
        keys: tuple[str, str] = ("data.fields.vessels.method", "data.fields.vessels.masks"),
    ) -> None:
        self.settings = VesselSettings(method, str(weights), masks, keys)
        self.method_key = open_method(self.settings).key  # what is missing is told before anything is read
        self.cache: VesselCache | None = None

    def bind(self, data: FieldContext) -> VesselField:
        """Return the field with the cache of a data set.

        Raises:
            DataError: If photographs have no mask in the folder.
        """
        method = open_method(self.settings)
        find = getattr(method, "find", None)
        absent = [] if find is None else [path for path in data.paths.values() if find(path) is None]
        if absent:
            raise DataError(
                f"{len(absent)} of {len(data.paths)} photographs have no mask in {self.settings.keys[1]}="
                f"{self.settings.masks} (first: {Path(absent[0]).name}); give masks of all of them"
            )
        return self.with_cache(data.cache_dir, data.preprocessing)

    def with_cache(self, cache_dir: str | Path, preprocessing: Preprocessing) -> VesselField:
        """Return the field with a cache folder."""
        bound = copy.copy(self)
        bound.cache = None if self.settings.method == "folder" else VesselCache(cache_dir, self.key(), preprocessing)
        return bound

    def load(self, sample: FieldSample) -> np.ndarray:
        """Return the class map of one photograph as the network gets it, uint8 (S, S).

        Raises:
            BadImageError: If the photograph cannot be read.
            DataError: If its mask in a folder cannot be used.
        """
        kept = None if self.cache is None else self.cache.load(sample.path)
        if kept is None:
            kept = self._prepare(sample)
            if self.cache is not None:
                self.cache.store(sample.path, kept)
        _, moved = sample.vary(sample.photograph, [kept])
        return moved[0]

    def collate(self, values: list[np.ndarray]) -> np.ndarray:
        """Return the class maps of a batch, uint8 (B, S, S)."""
        return np.stack(values)

    def key(self) -> str:
        """Return a short key of all that decides the class maps but the photograph."""
        return f"{self.name}-{self.method_key}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return super().to_dict() | self.settings.to_dict()

    def _prepare(self, sample: FieldSample) -> np.ndarray:
        """Find the vessels in the whole photograph, and move them as the photograph is prepared."""
        whole = sample.original().copy_for(replace(sample.preprocessing, decoding="whole"))
        classes = open_method(self.settings).segment(whole.pixels, whole.field_of_view, sample.path)
        copy_ = sample.original().copy_for(sample.preprocessing)
        return np.ascontiguousarray(prepare_masks(copy_, {self.name: classes}, sample.preprocessing)[self.name])


class VesselCache:
    """Prepared class maps on disk: `<cache_dir>/vessels/<pixels>-<key>/<aa>/<sha256 of the photograph>.npy`.

    Args:
        cache_dir: The folder of prepared photographs and of the file index.
        key: Of what finds the vessels.
        preprocessing: How a photograph becomes the input.
    """

    def __init__(self, cache_dir: str | Path, key: str, preprocessing: Preprocessing) -> None:
        self.folder = Path(cache_dir) / "vessels" / f"{preprocessing.pixel_key()}-{key}"
        self.side = preprocessing.input_size
        self.index = FileIndex(Path(cache_dir))

    def load(self, path: str | Path) -> np.ndarray | None:
        """Return the kept class map of a photograph, uint8 (S, S); None where there is none, or it is damaged."""
        if not self.folder.is_dir():
            return None
        sha256 = self.index.content_hash(path)
        return None if sha256 is None else read_array(file_of(self.folder, sha256), (self.side, self.side), np.uint8)

    def store(self, path: str | Path, classes: np.ndarray) -> None:
        """Keep the class map of a photograph; one that is in no file is not kept.

        Raises:
            UserError: If the file cannot be written.
        """
        sha256 = self.index.content_hash(path)
        if sha256 is not None:
            write_array(file_of(self.folder, sha256), classes)


def vessel_regions(
    path: str | Path, preprocessing: Preprocessing, settings: VesselSettings, cache_dir: str | Path | None = None
) -> dict[str, np.ndarray]:
    """Return the vessels of a photograph as regions of its prepared square, without augmentation.

    Args:
        path: The photograph.
        preprocessing: How it becomes the input.
        settings: How vessels are found.
        cache_dir: Where class maps are kept, `paths.cache`; None keeps none.

    Returns:
        `vessels`, and where the method tells them apart `arteries` and `veins`: bool, (S, S). Crossings and vessels of
        an uncertain kind belong to both.

    Raises:
        BadImageError: If the photograph cannot be read.
        UserError: If weights or masks are not there, or cannot be used.
    """
    field = VesselField(**settings.to_dict(), keys=settings.keys)
    bound = field if cache_dir is None else field.with_cache(cache_dir, preprocessing)
    return regions(bound.load(FieldSample(str(path), str(path), preprocessing)))
