"""Lesion masks as keys of sample and batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.data.photographs.prepared_pixels import prepare_masks, same_shape
from retinai.lesions.findings import LESION_NAMES, OPTIC_DISC
from retinai.lesions.mask_files import MaskFiles, check_masks, read_lesion_mask


class MaskField(SampleField):
    """`mask`: what is drawn on a photograph, moved through its preparation and augmentation.

    Args:
        names: The lesions, in the order of the channels.
        files: The mask files; a data set that it is bound to gives its own.
    """

    name = "mask"
    needs_annotations = True

    def __init__(self, names: Sequence[str] = (*LESION_NAMES, OPTIC_DISC), files: MaskFiles | None = None) -> None:
        self.names = tuple(names)
        self.files: MaskFiles = files or {}

    def bind(self, data: FieldContext) -> MaskField:
        """Return the field with the masks of a data set.

        Raises:
            DataError: If a mask cannot be read, or has another shape than its photograph.
        """
        bound = copy.copy(self)
        bound.files = check_masks(data.source.annotations(), data.paths, data.cache_dir)
        return bound

    def load(self, sample: FieldSample) -> np.ndarray:
        """Return the masks of a photograph as channels, uint8 of 0 and 1, (S, S, L); empty without a file.

        Raises:
            BadImageError: If the photograph cannot be read.
            DataError: If a mask cannot be read, or has another shape than its photograph.
        """
        size = sample.preprocessing.input_size
        masks = {name: np.zeros((size, size), np.uint8) for name in self.names}
        files = {name: file for name, file in self.files.get(sample.id, {}).items() if name in masks}
        if not files:
            return np.stack(list(masks.values()), axis=-1)  # what is empty stays empty wherever it moves
        # The field of view is found where the photograph was decoded for its input, so one with masks is always opened.
        copy = sample.original().copy_for(sample.preprocessing)
        drawn = {name: fit_mask(read_lesion_mask(file), copy.whole[::-1]) for name, file in files.items()}
        masks |= {n: m.astype(np.uint8) for n, m in prepare_masks(copy, drawn, sample.preprocessing).items()}
        _, moved = sample.vary(sample.photograph, [np.ascontiguousarray(mask) for mask in masks.values()])
        return np.stack(moved, axis=-1)

    def collate(self, values: list[np.ndarray]) -> np.ndarray:
        """Return the masks of a batch, float32 of 0 and 1, (B, L, S, S)."""
        return np.ascontiguousarray(np.stack(values).transpose(0, 3, 1, 2), dtype=np.float32)

    def key(self) -> str:
        """Return the names of the channels."""
        return f"{self.name}-{'-'.join(self.names)}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; the files are the data set's."""
        return super().to_dict() | {"names": list(self.names)}


class AnnotatedField(SampleField):
    """`has_mask`: whether anybody looked for lesions on a photograph, so that an empty mask says that there are none.

    Args:
        files: The mask files; a data set that it is bound to gives its own.
    """

    name = "has_mask"
    needs_annotations = True

    def __init__(self, files: MaskFiles | None = None) -> None:
        self.files: MaskFiles = files or {}

    def bind(self, data: FieldContext) -> AnnotatedField:
        """Return the field with the masks of a data set."""
        bound = copy.copy(self)
        bound.files = data.source.annotations()
        return bound

    def load(self, sample: FieldSample) -> bool:
        """Return whether a photograph is annotated."""
        return sample.id in self.files

    def collate(self, values: list[bool]) -> np.ndarray:
        """Return a batch's values, bool, (B,)."""
        return np.array(values, dtype=bool)


def fit_mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask at its photograph's size, where a copy of the data set was made smaller.

    A mask of another shape is left as it is, to be refused later.
    """
    height, width = shape[:2]
    if mask.shape == (height, width) or not same_shape(mask.shape, shape):
        return mask
    return cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0
