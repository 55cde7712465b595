"""The files of lesion masks: reading them, and the check that they belong to their photographs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from retinai.data.curation.file_index import Entry, FileIndex, FileRecord, file_signature
from retinai.data.photographs.images import BadImageError, decode_mask, read_bytes, read_mask, read_size
from retinai.data.photographs.prepared_pixels import same_shape
from retinai.errors import DataError

INDEX_NAME = "mask_index.jsonl"
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


def check_masks(files: MaskFiles, paths: Mapping[str, str], cache_dir: str | Path) -> MaskFiles:
    """Return mask files, but refuse those that are damaged or have sides of another ratio than their photograph's.

    A copy of the data set in which photographs, or masks, were made smaller is fine. Every mask is decoded once, since
    a header does not tell all that can be wrong with one; `<cache_dir>/mask_index.jsonl` keeps what was found.

    Args:
        files: The mask files.
        paths: {id: photograph}; ids that are not here are left out.
        cache_dir: The cache folder.

    Raises:
        BadImageError: If a photograph cannot be read.
        DataError: If masks cannot be read or do not fit; tells every one with its photograph's id.
    """
    named = {name: files[name] for name in paths if files.get(name)}
    known = _examined([file for own in named.values() for file in own.values()], Path(cache_dir))
    damaged, misfits = [], []
    for name, own in named.items():
        width, height = read_size(paths[name])
        for lesion, file in own.items():
            mask = known[str(file)]
            if mask.reason:
                damaged.append(f"{file} ({lesion} of {name}): {mask.reason}")
            elif not same_shape((mask.height, mask.width), (height, width)):
                misfits.append(
                    f"{file} ({lesion}) is {mask.width} x {mask.height} pixels, "
                    f"its photograph {name} {width} x {height}"
                )
    if damaged:
        raise DataError(f"{len(damaged)} lesion masks cannot be read: {'; '.join(damaged)}; {_REMEDY}")
    if misfits:
        raise DataError(f"{len(misfits)} lesion masks do not fit their photographs: {'; '.join(misfits)}")
    return files


def _examined(files: list[str], cache_dir: Path) -> dict[str, FileRecord]:
    """Return size of each mask, or why it cannot be used; those that are new or were changed are decoded."""
    index = FileIndex(cache_dir, INDEX_NAME)
    wanted = list(dict.fromkeys(map(str, files)))
    known = {file: index.lookup(file) for file in wanted}
    todo = [file for file, record in known.items() if record is None]
    fresh = index.run(_examine_mask, todo, None, "checking masks")
    return {file: record or fresh[file] for file, record in known.items()}


def _examine_mask(path: str) -> Entry:
    """Read and decode one mask. Runs in a worker."""
    signature, read_at = file_signature(path), time.time()
    try:
        data = read_bytes(path)
    except BadImageError as error:
        return Entry(FileRecord(path, reason=error.reason), None, read_at)
    signature = signature if signature == file_signature(path) else None
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        height, width = decode_mask(data, path).shape
    except BadImageError as error:
        return Entry(FileRecord(path, sha256, reason=error.reason), signature, read_at)
    return Entry(FileRecord(path, sha256, width=width, height=height), signature, read_at)
