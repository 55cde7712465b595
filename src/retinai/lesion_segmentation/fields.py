"""What batches carry for masks: parts of drawn photographs to learn from, and files to measure on."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.data.photographs.normalise import normalise
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.lesions.mask_files import check_masks
from retinai.lesions.masks import MaskField

_COLOURS = 3


class LesionCrops(SampleField):
    """`lesion_crops`: parts of each photograph with masks, larger than the grader sees it, and what is drawn there.

    The photograph varies as the one that is graded. Every second part, the first one too, holds a pixel of something
    that is drawn there, each kind as likely as the others; the rest lie anywhere. Photographs that nobody drew on give
    no parts.

    Args:
        preprocessing: How the photograph is prepared, with the size in which lesions are looked for.
        side: Side of a part in pixels.
        count: Parts of each photograph and epoch.
    """

    name = "lesion_crops"
    splits = ("train", "val")
    needs_annotations = True

    def __init__(self, preprocessing: Preprocessing, side: int, count: int) -> None:
        self.preprocessing, self.side, self.count = preprocessing, side, count
        self.masks = MaskField()

    def bind(self, data: FieldContext) -> LesionCrops:
        """Return the field with the masks of a data set.

        Raises:
            DataError: If a mask cannot be read, or has another shape than its photograph.
        """
        bound = copy.copy(self)
        bound.masks = self.masks.bind(dataclasses.replace(data, preprocessing=self.preprocessing))
        return bound

    def load(self, sample: FieldSample) -> np.ndarray:
        """Return the parts of one sample, uint8, (count or 0, side, side, 3 + L): colours, then masks of 0 and 1.

        Raises:
            BadImageError: If the photograph cannot be read.
            DataError: If a mask cannot be read.
        """
        if sample.id not in self.masks.files:
            return np.zeros((0, self.side, self.side, _COLOURS + len(self.masks.names)), np.uint8)
        large = sample.at(self.preprocessing)
        masks = self.masks.load(large)
        whole = np.concatenate([large.image, masks], axis=-1)
        # A stream of its own: nothing else draws from these numbers with this one behind them.
        rng = np.random.default_rng([*sample.draw, len(self.name)])
        return np.stack([self._part(whole, rng, number % 2 == 0) for number in range(self.count)])

    def collate(self, values: list[np.ndarray]) -> np.ndarray:
        """Return the N parts of all photographs of a batch, float32, (N, 3 + L, side, side); colours normalised."""
        parts = np.concatenate(values)
        images = normalise(parts[..., :_COLOURS], self.preprocessing)
        return np.concatenate([images, parts[..., _COLOURS:].transpose(0, 3, 1, 2).astype(np.float32)], axis=1)

    def key(self) -> str:
        """Return a short key of all that decides the values."""
        return f"{self.name}-{self.preprocessing.pixel_key()}-{self.side}-{self.count}"

    def _part(self, whole: np.ndarray, rng: np.random.Generator, on_a_lesion: bool) -> np.ndarray:
        room = whole.shape[0] - self.side
        top, left = (int(place) for place in rng.integers(0, room + 1, 2))
        kinds = np.flatnonzero(whole[..., _COLOURS:].any(axis=(0, 1)))
        if on_a_lesion and len(kinds):
            places = np.argwhere(whole[..., _COLOURS + rng.choice(kinds)])
            # The pixel may lie anywhere in the part, so that nothing is learned from where it lies.
            row, column = places[rng.integers(len(places))] - rng.integers(0, self.side, 2)
            top, left = int(np.clip(row, 0, room)), int(np.clip(column, 0, room))
        return whole[top : top + self.side, left : left + self.side]


@dataclass(frozen=True)
class DrawnPhotograph:
    """A photograph with the files of what is drawn on it.

    Args:
        path: The photograph.
        masks: {lesion or `optic_disc`: mask file}; a lesion without a file is absent. None where nobody drew.
    """

    path: str
    masks: Mapping[str, str] | None


class DrawnFiles(SampleField):
    """`drawn_files`: where a photograph and its masks lie, so that they are opened one by one when they are measured.

    At the owners' size a photograph with its masks has 100 MB, too much to have a batch of them at once.
    """

    name = "drawn_files"
    splits = ("val", "test")

    def __init__(self) -> None:
        self.files: Mapping[str, Mapping[str, str]] = {}

    def bind(self, data: FieldContext) -> DrawnFiles:
        """Return the field with the masks of a data set.

        Raises:
            DataError: If a mask cannot be read, or has another shape than its photograph.
        """
        bound = copy.copy(self)
        bound.files = check_masks(data.source.annotations(), data.paths, data.cache_dir)
        return bound

    def load(self, sample: FieldSample) -> DrawnPhotograph:
        """Return the files of one sample."""
        return DrawnPhotograph(sample.path, self.files.get(sample.id))

    def collate(self, values: list[DrawnPhotograph]) -> list[DrawnPhotograph]:
        """Return the files of a batch as a list."""
        return list(values)
