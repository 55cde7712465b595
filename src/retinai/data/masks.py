"""Lesion masks as keys of sample and batch, and the check that they belong to their photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from retinai.data.photographs.field_of_view import prepare_masks, same_shape
from retinai.data.photographs.images import read_mask, read_photograph, read_size
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import DataError

# {id: {lesion: mask file}}; an id that is not here is not annotated, a lesion without a file is absent.
MaskFiles = Mapping[str, Mapping[str, str]]


class MaskField:
    """`mask`: what is drawn on a photograph, moved through its preparation and augmentation.

    Args:
        files: The mask files.
        names: The lesions, in the order of the channels.
        preprocessing: How the photograph becomes the input.
    """

    name = "mask"
    moves = True

    def __init__(self, files: MaskFiles, names: Sequence[str], preprocessing: Preprocessing) -> None:
        self.files = files
        self.names = tuple(names)
        self.preprocessing = preprocessing

    def load(self, id: str, path: str, photograph: np.ndarray) -> np.ndarray:
        """Return the masks of a photograph as channels, uint8 of 0 and 1, (S, S, L); empty without a file.

        Raises:
            BadImageError: If the photograph or a mask cannot be read.
            DataError: If a mask has another shape than its photograph.
        """
        size = self.preprocessing.input_size
        masks = {name: np.zeros((size, size), np.uint8) for name in self.names}
        files = {name: file for name, file in self.files.get(id, {}).items() if name in masks}
        if files:
            # The field of view is found on the original, so a photograph with masks is always opened.
            original = read_photograph(path)
            drawn = {name: _fit(read_mask(file), original.shape) for name, file in files.items()}
            masks |= {n: m.astype(np.uint8) for n, m in prepare_masks(original, drawn, self.preprocessing).items()}
        return np.stack(list(masks.values()), axis=-1)

    def collate(self, values: list[np.ndarray]) -> Tensor:
        """Return the masks of a batch, float32 of 0 and 1, (B, L, S, S)."""
        return torch.from_numpy(np.stack(values)).permute(0, 3, 1, 2).to(torch.float32).contiguous()


class AnnotatedField:
    """`has_mask`: whether anybody looked for lesions on a photograph, so that an empty mask says that there are none.

    Args:
        files: The mask files.
    """

    name = "has_mask"
    moves = False

    def __init__(self, files: MaskFiles) -> None:
        self.files = files

    def load(self, id: str, path: str, photograph: np.ndarray) -> bool:
        """Return whether a photograph is annotated."""
        return id in self.files

    def collate(self, values: list[bool]) -> Tensor:
        """Return a batch's values, bool, (B,)."""
        return torch.tensor(values)


def check_masks(files: MaskFiles, paths: Mapping[str, str]) -> MaskFiles:
    """Return mask files, but refuse those whose sides have another ratio than their photograph's.

    A copy of the data set in which photographs, or masks, were made smaller is fine. No pixels are decoded.

    Args:
        files: The mask files.
        paths: {id: photograph}; ids that are not here are left out.

    Raises:
        BadImageError: If a file cannot be read.
        DataError: If masks do not fit; tells every one with its photograph's id.
    """
    problems = []
    for name, path in paths.items():
        if not files.get(name):
            continue
        width, height = read_size(path)
        for lesion, file in files[name].items():
            across, down = read_size(file)
            if not same_shape((down, across), (height, width)):
                problems.append(
                    f"{file} ({lesion}) is {across} x {down} pixels, its photograph {name} {width} x {height}"
                )
    if problems:
        raise DataError(f"{len(problems)} lesion masks do not fit their photographs: {'; '.join(problems)}")
    return files


def _fit(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask at its photograph's size, where a copy of the data set was made smaller.

    A mask of another shape is left as it is, to be refused later.
    """
    height, width = shape[:2]
    if mask.shape == (height, width) or not same_shape(mask.shape, shape):
        return mask
    return cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0
