"""What a sample may carry besides photograph and label: masks, findings, topology, a teacher's view, a conversation.

A data set does not know which module will read it; a run adds the fields that its module asks for
(`FundusDataModule.use_fields`). Nothing here needs torch: loader processes and a clinic's runtime use the same fields.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retinai.config.build import TARGET, build
from retinai.data.photographs.original import Original
from retinai.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from retinai.data.photographs.cache import PreparedCache
    from retinai.data.photographs.preprocessing import Preprocessing
    from retinai.data.sources.source import Source

# Photograph, masks and the value outside the field of view -> the same, augmented.
Variation = Callable[[np.ndarray, Sequence[np.ndarray], int], tuple[np.ndarray, list[np.ndarray]]]


@dataclass(frozen=True)
class FieldContext:
    """The data set that a field is bound to.

    Args:
        source: Where the labels come from.
        table: The label table with the final split.
        preprocessing: How a photograph becomes the input.
        cache_dir: Folder of what `retinai prepare` computed.
    """

    source: Source
    table: pd.DataFrame
    preprocessing: Preprocessing
    cache_dir: Path

    @property
    def paths(self) -> dict[str, str]:
        """{id: photograph} of all rows."""
        return dict(zip(self.table["id"], self.table["path"], strict=True))


class FieldSample:
    """One photograph as fields see it; it is decoded, prepared and augmented once, however many fields ask for it.

    Args:
        id: Name of the sample in the label table.
        path: The original file.
        preprocessing: How a photograph becomes the input.
        cache: Prepared photographs; what is not there is prepared from the original.
        original: The photograph before preparation, where it was read already.
        photograph: The prepared photograph, uint8 RGB (S, S, 3), where it is known already.
        variation: The sample's own augmentation; None for none.
        draw: Numbers that name this draw of the sample (seed, epoch, sample, repeat), to seed what a field draws.

    Attributes:
        damaged: Files of the cache that were not used because they are damaged.
    """

    def __init__(
        self,
        id: str,
        path: str,
        preprocessing: Preprocessing,
        *,
        cache: PreparedCache | None = None,
        original: Original | None = None,
        photograph: np.ndarray | None = None,
        variation: Variation | None = None,
        draw: tuple[int, ...] = (),
    ) -> None:
        self.draw = draw
        self.id = id
        self.path = path
        self.preprocessing = preprocessing
        self._cache = cache
        self._original = original
        self._prepared = {} if photograph is None else {preprocessing.pixel_key(): photograph}
        self._variation = variation
        self._image: np.ndarray | None = None
        self.damaged: list[str] = []

    @property
    def photograph(self) -> np.ndarray:
        """The prepared photograph before augmentation, uint8 RGB (S, S, 3); not to be changed.

        Raises:
            BadImageError: If the file cannot be read.
        """
        return self.prepared(self.preprocessing)

    @property
    def image(self) -> np.ndarray:
        """The photograph as the network gets it: prepared and augmented, uint8 RGB (S, S, 3)."""
        if self._image is None:
            self._image, _ = self.vary(self.photograph)
        return self._image

    def original(self) -> Original:
        """Return the photograph before preparation.

        Raises:
            BadImageError: If the file cannot be read.
        """
        if self._original is None:
            self._original = Original.read(self.path)
        return self._original

    def prepared(self, preprocessing: Preprocessing) -> np.ndarray:
        """Return the photograph prepared in another way, from the cache or the original, uint8 RGB (S, S, 3)."""
        key = preprocessing.pixel_key()
        if key not in self._prepared:
            kept = self._kept(preprocessing)
            self._prepared[key] = self.original().prepared(preprocessing) if kept is None else kept
        return self._prepared[key]

    def at(self, preprocessing: Preprocessing) -> FieldSample:
        """Return the same draw of the photograph prepared in another way, varied alike; decoded once for both."""
        return FieldSample(
            self.id,
            self.path,
            preprocessing,
            cache=self._cache,
            original=self.original(),
            variation=self._variation,
            draw=self.draw,
        )

    def _kept(self, preprocessing: Preprocessing) -> np.ndarray | None:
        if self._cache is None:
            return None
        cache = self._cache.with_preprocessing(preprocessing)
        kept = cache.load(self.path)
        if kept is None and (file := cache.damaged_file(self.path)) is not None:
            self.damaged.append(str(file))
        return kept

    def vary(
        self, image: np.ndarray, masks: Sequence[np.ndarray] = (), outside: int | None = None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return a picture and masks of this photograph, varied as the photograph itself is in this epoch.

        Args:
            image: uint8 (S, S, 3), of any side.
            masks: uint8 masks of the same side, each (S, S).
            outside: What lies outside the field of view of `image` (`Preprocessing.outside`); None: as in
                `photograph`.
        """
        if self._variation is None:
            return image, list(masks)
        value = self.preprocessing.outside if outside is None else outside
        varied, moved = self._variation(image, masks, value)
        if value == self.preprocessing.outside and image is self._prepared.get(self.preprocessing.pixel_key()):
            self._image = varied  # masks change nothing about how it varies
        return varied, moved


class SampleField(ABC):
    """One more key of a sample and of a batch.

    A field is made from plain settings, bound to a data set when there is one, and pickled to loader processes.

    Attributes:
        name: Key of sample and batch.
        splits: The parts of a data set whose samples carry it.
        needs_annotations: Whether it says what somebody annotated, which nobody did on a loose file.
    """

    name: str
    splits: tuple[str, ...] = ("train", "val", "test", "predict")
    needs_annotations: bool = False

    def bind(self, data: FieldContext) -> SampleField:
        """Return this field for a data set: with its annotations and caches; called once the table is known.

        Raises:
            UserError: If the data set cannot give what the field needs.
        """
        return self

    @abstractmethod
    def load(self, sample: FieldSample) -> Any:
        """Return the value of one sample."""

    @abstractmethod
    def collate(self, values: list[Any]) -> Any:
        """Return the batch's value of B samples' values: a numpy array, which becomes a tensor, or a list."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of one value where values are float32 arrays that a network reads; None otherwise."""
        return None

    def key(self) -> str:
        """Return a short key of all that decides the values."""
        return self.name

    def to_dict(self) -> dict[str, Any]:
        """Return `_target_` and settings as plain values, from which `retinai.config.build.build` makes it again."""
        return {TARGET: f"{type(self).__module__}.{type(self).__qualname__}"}


def by_name(fields: Sequence[SampleField]) -> dict[str, SampleField]:
    """Return fields by their names; of two with one name the later counts."""
    return {field.name: field for field in fields}


def field_sections(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the mapping of each field that a data section knows, whether it is switched on or not.

    Raises:
        ConfigError: If `fields` is something else than mappings by name.
    """
    known = data.get("fields") or {}
    groups = list(known.values()) if isinstance(known, Mapping) else [known]
    several = [
        list(group.values()) if isinstance(group, Mapping) and TARGET not in group else [group] for group in groups
    ]
    found = [section for group in several for section in group if section is not None]
    if not isinstance(known, Mapping) or not all(isinstance(section, Mapping) for section in found):
        raise ConfigError([f"data.fields={known} must map names to fields, each a mapping with {TARGET}"])
    return found


def take_fields(data: dict[str, Any]) -> list[SampleField]:
    """Build the fields of a data section, and take them and their switches out of it.

    `fields` maps a name to the mapping of a field (`_target_` and settings), or to several of them by name. A key of
    the section with that name, where there is one, switches it on or off: `data.masks=true`.

    Args:
        data: The section as plain values; changed.

    Raises:
        ConfigError: If a mapping names no field, or an argument does not fit.
    """
    field_sections(data)
    known = data.pop("fields", None) or {}
    on = {name: value for name, value in known.items() if data.pop(name, True)}
    return [build(spec, SampleField, trusted=True) for spec in field_sections({"fields": on})]
