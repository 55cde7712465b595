"""Arrays on disk with a checksum: what a damaged disk or another program changed is never served.

A file is numpy's own format, which `numpy.load` reads too, and four bytes behind it: the CRC-32 of the
array's place in the cache and of all bytes before. A whole array under the wrong name is found as well.
"""

from __future__ import annotations

import io
import os
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from retinai.errors import UserError
from retinai.files import atomic_path

_CHECKSUM_BYTES = 4
_PLACE = 3  # the last parts of a path that belong to the checksum: <settings>/<aa>/<hash>.npy


def file_of(folder: Path, sha256: str) -> Path:
    """Return where a folder of the cache keeps what belongs to a content."""
    return folder / sha256[:2] / f"{sha256}.npy"


def read_array(file: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray | None:
    """Return a kept array; None where there is none, or it is damaged or of another shape or type.

    Args:
        file: The file, as `file_of` names it.
        shape: The shape that it must have.
        dtype: The type that it must have.

    Returns:
        The array, writable.
    """
    header = _header(shape, np.dtype(dtype).str)
    size = len(header) + int(np.prod(shape)) * np.dtype(dtype).itemsize + _CHECKSUM_BYTES
    try:
        # Not numpy's reader, which takes three times as long: the time that is saved pays for the checksum.
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            if os.fstat(handle).st_size != size:
                return None
            content = np.empty(size, np.uint8)
            with os.fdopen(handle, "rb", buffering=0, closefd=False) as stream:
                if stream.readinto(content.data) != size:
                    return None
        finally:
            os.close(handle)
    except OSError:
        return None  # not there, or not to be read: it is made anew
    checked, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:].tobytes()
    if content[: len(header)].tobytes() != header or checksum != _checksum(file, checked.data):
        return None
    return checked[len(header) :].view(dtype).reshape(shape)


def write_array(file: Path, array: np.ndarray) -> None:
    """Keep an array with its checksum, whole or not at all.

    Args:
        file: The file, as `file_of` names it.
        array: The array.

    Raises:
        UserError: If the file cannot be written; names it.
    """
    # Through memory, because numpy's own writer hides the reason when a disk is full.
    content = _header(array.shape, array.dtype.str) + np.ascontiguousarray(array).tobytes()
    try:
        with atomic_path(file) as temporary:
            temporary.write_bytes(content + _checksum(file, content))
    except OSError as error:
        raise UserError(
            f"{file} could not be written ({error.strerror}); remove what is in its place, or choose another "
            "folder: paths.cache="
        ) from error


@lru_cache(maxsize=64)
def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    """Return what numpy writes before the values of an array; its length is a multiple of 64 bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _checksum(file: Path, content: bytes | memoryview) -> bytes:
    place = "/".join(file.parts[-_PLACE:]).encode()
    return zlib.crc32(content, zlib.crc32(place)).to_bytes(_CHECKSUM_BYTES, "little")
