"""A photograph as it was given, decoded as large as each use of it needs.

A native JPEG has about 12 million pixels, of which an input of 224 x 224 shows 50,000. A JPEG decoder gives a half, a
quarter or an eighth of the sides in a fraction of the time, by using fewer coefficients of each block of 8 x 8 pixels.
Everything that reads photographs for a network does it here, so that training, the cache, prediction and the runtime
see the same pixels.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from retinai.data.photographs.field_of_view import SEARCH_SIDE, FieldOfView, find_field_of_view
from retinai.data.photographs.images import MAX_PIXELS, Header, decode_photograph, read_bytes, read_header
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing

REDUCTIONS = (8, 4, 2, 1)
_ENOUGH = 2  # pixels of the decoded field of view per pixel of the input, along a side


def choose_reduction(width: int, height: int, field: float, input_size: int) -> int:
    """Return by how much the sides of a JPEG may be divided while it is decoded: 8, 4, 2 or 1.

    It is the most that leaves the field of view at least twice as long as the input's side, and the photograph at
    least as large as the copy in which the field of view is looked for.

    Args:
        width: Columns of the whole photograph.
        height: Rows of the whole photograph.
        field: Longer side of the field of view in pixels of the whole photograph.
        input_size: Side of the network's input in pixels.
    """
    for reduction in REDUCTIONS:
        if field >= _ENOUGH * input_size * reduction and max(width, height) >= SEARCH_SIDE * reduction:
            return reduction
    return 1


class Copy:
    """A photograph as it was decoded.

    Args:
        pixels: uint8, (H, W, 3), RGB, upright.
        reduction: By how much its sides were divided.
        whole: Width and height of the whole photograph.
    """

    def __init__(self, pixels: np.ndarray, reduction: int, whole: tuple[int, int]) -> None:
        self.pixels = pixels
        self.reduction = reduction
        self.whole = whole

    @cached_property
    def field_of_view(self) -> FieldOfView:
        """The field of view in pixels of the copy."""
        return find_field_of_view(self.pixels)

    def found_for(self, preprocessing: Preprocessing) -> FieldOfView | None:
        """Return the field of view where the crop asks for it, so that it is looked for once."""
        return self.field_of_view if preprocessing.crop == "fov" else None

    def box_in_whole(self, view: FieldOfView) -> tuple[int, int, int, int]:
        """Return the left, top, width and height of a field of view in pixels of the whole photograph."""
        (left, top, width, height), by = view.box, self.reduction
        right, bottom = min((left + width) * by, self.whole[0]), min((top + height) * by, self.whole[1])
        return left * by, top * by, right - left * by, bottom - top * by


class Original:
    """A photograph before it is prepared; each scale that is asked for is decoded once.

    Args:
        source: The bytes of a file, or pixels that are in memory: uint8, (H, W, 3), RGB.
        name: The file, or another name; stands in errors.
    """

    def __init__(self, source: bytes | np.ndarray, name: str | Path) -> None:
        self.name = name
        self._data = source if isinstance(source, bytes) else b""
        self._copies: dict[int, Copy] = {}
        if not isinstance(source, bytes):
            height, width = source.shape[:2]
            self.header = Header(width, height, reducible=False)
            self._copies[1] = Copy(source, 1, (width, height))

    @classmethod
    def read(cls, path: str | Path) -> Original:
        """Return the photograph of a file; it is decoded when it is asked for.

        Raises:
            BadImageError: If the file is missing, empty, too large, or cannot be read.
        """
        return cls(read_bytes(path), path)

    @cached_property
    def header(self) -> Header:
        """Width and height as it stands upright, and whether it can be decoded at a fraction of its size.

        Raises:
            BadImageError: If the bytes are no image.
        """
        return read_header(self._data, self.name)

    def copy_for(self, preprocessing: Preprocessing) -> Copy:
        """Return the photograph decoded as large as a preprocessing needs it.

        How large the field of view is, nobody knows before something is decoded. It is taken to be as long as the
        shorter side of the frame, which a disc that is cut by the frame exceeds; where the field of view of that copy
        turns out to be too small, the photograph is decoded again, larger.

        Raises:
            BadImageError: If the photograph cannot be decoded, or is all black.
        """
        side, header = preprocessing.input_size, self.header
        if preprocessing.decoding != "reduced" or not header.reducible:
            return self._decoded(1)
        sides = (header.width, header.height)
        reduction = choose_reduction(*sides, min(sides), side)
        while reduction > 1 and preprocessing.crop == "fov":
            view = self._decoded(reduction).field_of_view
            field = max(view.width, view.height)
            if field >= _ENOUGH * side:
                break
            reduction = min(reduction // 2, choose_reduction(*sides, field * reduction, side))
        return self._decoded(reduction)

    def prepared(self, preprocessing: Preprocessing) -> np.ndarray:
        """Return the prepared pixels, uint8, (S, S, 3), RGB, see `prepare_photograph`.

        Raises:
            BadImageError: If the photograph cannot be decoded, or is all black.
        """
        copy = self.copy_for(preprocessing)
        return prepare_photograph(copy.pixels, preprocessing, copy.found_for(preprocessing))

    def _decoded(self, reduction: int) -> Copy:
        if reduction not in self._copies:
            pixels = decode_photograph(self._data, self.name, MAX_PIXELS, reduction)
            self._copies[reduction] = Copy(pixels, reduction, (self.header.width, self.header.height))
        return self._copies[reduction]
