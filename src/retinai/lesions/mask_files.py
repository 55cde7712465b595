"""The files of lesion masks: reading them, and the check that they belong to their photographs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from retinai.data.photographs.images import BadImageError, read_mask, read_size
from retinai.data.photographs.preparation import same_shape
from retinai.errors import DataError

# {id: {lesion: mask file}}; an id that is not here is not annotated, a lesion without a file is absent.
MaskFiles = Mapping[str, Mapping[str, str]]
# One mask alone is not to be removed: its lesion would count as absent. `data.on_bad_image` is about photographs.
_REMEDY = "replace the file, or remove every mask of its photograph, which is then one that nobody annotated"


def read_lesion_mask(file: str) -> np.ndarray:
    """Return a mask, bool, shape (H, W), see `read_mask`.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        return read_mask(file)
    except BadImageError as error:
        raise DataError(f"lesion mask {file}: {error.reason}; {_REMEDY}") from error


def check_masks(files: MaskFiles, paths: Mapping[str, str]) -> MaskFiles:
    """Return mask files, but refuse those that are damaged or have sides of another ratio than their photograph's.

    A copy of the data set in which photographs, or masks, were made smaller is fine. No pixels are decoded.

    Args:
        files: The mask files.
        paths: {id: photograph}; ids that are not here are left out.

    Raises:
        BadImageError: If a photograph cannot be read.
        DataError: If masks cannot be read or do not fit; tells every one with its photograph's id.
    """
    damaged, misfits = [], []
    for name, path in paths.items():
        if not files.get(name):
            continue
        width, height = read_size(path)
        for lesion, file in files[name].items():
            try:
                across, down = read_size(file)
            except BadImageError as error:
                damaged.append(f"{file} ({lesion} of {name}): {error.reason}")
                continue
            if not same_shape((down, across), (height, width)):
                misfits.append(
                    f"{file} ({lesion}) is {across} x {down} pixels, its photograph {name} {width} x {height}"
                )
    if damaged:
        raise DataError(f"{len(damaged)} lesion masks cannot be read: {'; '.join(damaged)}; {_REMEDY}")
    if misfits:
        raise DataError(f"{len(misfits)} lesion masks do not fit their photographs: {'; '.join(misfits)}")
    return files
