"""Tokens of a frozen vision tower, computed once per photograph and kept like prepared photographs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.data.parallel import run_parallel
from retinai.data.photographs.arrays import file_of, read_array, write_array
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.normalise import normalise
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import UserError

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule

VISION = "vision"
_BATCH = 8


class VisionCache:
    """A folder of vision tokens: `<cache_dir>/vision/<pixels>-<tower>/<aa>/<sha256 of the photograph>.npy`, float16.

    Another tower, other tokens or other preprocessing have another folder and a changed photograph another name, so
    tokens of another tower are never read; a damaged file is computed anew.

    Args:
        cache_dir: The folder of prepared photographs and of the file index.
        preprocessing: How a photograph becomes the input.
        tower: Identifies the tower, and everything that it does to a photograph.
        shape: (N, C), tokens and channels.
    """

    def __init__(self, cache_dir: str | Path, preprocessing: Preprocessing, tower: str, shape: tuple[int, int]) -> None:
        self.prepared = PreparedCache(cache_dir, preprocessing)
        self.preprocessing, self.shape = preprocessing, shape
        self.folder = Path(cache_dir) / VISION / f"{preprocessing.pixel_key()}-{tower[:16]}"

    def load(self, path: str | Path) -> np.ndarray | None:
        """Return the tokens of a photograph, float16 (N, C); None if there are none for its present content."""
        sha256 = self.prepared.index.content_hash(path)
        return None if sha256 is None else read_array(file_of(self.folder, sha256), self.shape, np.float16)

    def prepare(self, paths: Sequence[str], encode: Callable[[Tensor], Tensor]) -> int:
        """Compute and keep what is not there yet.

        Args:
            paths: The photographs.
            encode: Normalised photographs (B, 3, S, S) -> tokens (B, N, C).

        Returns:
            How many photographs were computed.

        Raises:
            UserError: If a photograph cannot be read, or the disk is full; what is done is kept.
        """
        todo = [path for path in dict.fromkeys(paths) if self.load(path) is None]
        parts = [todo[k : k + _BATCH] for k in range(0, len(todo), _BATCH)]
        return sum(run_parallel(lambda part: self._compute(part, encode), parts, 0, "computing vision tokens"))

    def _compute(self, paths: list[str], encode: Callable[[Tensor], Tensor]) -> int:
        # Through `FieldSample`, which takes the prepared photograph where there is one.
        samples = [FieldSample(path, path, self.preprocessing, cache=self.prepared) for path in paths]
        images = normalise(np.stack([sample.photograph for sample in samples]), self.preprocessing)
        with torch.no_grad():
            tokens = encode(torch.from_numpy(images)).float().cpu().numpy().astype(np.float16)
        for path, values in zip(paths, tokens, strict=True):
            sha256 = self.prepared.index.content_hash(path)
            if sha256 is None:
                raise UserError(f"{path} can no longer be read, so its vision tokens cannot be kept; run it again")
            write_array(file_of(self.folder, sha256), values)
        return len(paths)


class VisionField(SampleField):
    """Kept vision tokens, float32 (B, N, C), in place of what the tower would compute of the photograph.

    Args:
        tower: See `VisionCache`.
        shape: See `VisionCache`.
    """

    name = VISION
    splits = ("train", "val", "test")

    def __init__(self, tower: str, shape: Sequence[int]) -> None:
        self.tower, self.tokens = tower, (int(shape[0]), int(shape[1]))
        self.cache: VisionCache | None = None

    def bind(self, data: FieldContext) -> VisionField:
        """Return the field with the cache of the data set."""
        bound = copy.copy(self)
        bound.cache = VisionCache(data.cache_dir, data.preprocessing, self.tower, self.tokens)
        return bound

    def load(self, sample: FieldSample) -> np.ndarray:
        """Return the tokens of a photograph, float16 (N, C).

        Raises:
            UserError: If they are gone, or damaged since the run began.
        """
        kept = None if self.cache is None else self.cache.load(sample.path)
        if kept is None:
            raise UserError(f"the kept vision tokens of {sample.path} are gone or damaged; start the run again")
        return kept

    def collate(self, values: list[Any]) -> np.ndarray:
        """Return the tokens of B photographs, float32 (B, N, C)."""
        return np.stack(values).astype(np.float32)

    def key(self) -> str:
        """Return what decides the tokens besides the pixels."""
        return f"{self.name}-{self.tower[:16]}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return super().to_dict() | {"tower": self.tower, "shape": list(self.tokens)}


def keep_vision(datamodule: FundusDataModule, field: VisionField, encode: Callable[[Tensor], Tensor]) -> str:
    """Compute the tokens of every photograph of a data set that are not kept yet, and let its samples carry them.

    Args:
        datamodule: The data, set up; its training photographs must not vary.
        field: The field.
        encode: See `VisionCache.prepare`.

    Returns:
        A sentence that says what was computed.
    """
    cache = field.bind(datamodule.context).cache
    assert cache is not None
    paths = list(_paths(datamodule, field.splits))
    count = cache.prepare(paths, encode)
    datamodule.use_fields([field])
    return f"vision tokens: {count} photographs computed, {len(set(paths)) - count} kept from before, in {cache.folder}"


def _paths(datamodule: FundusDataModule, splits: Sequence[str]) -> Iterator[str]:
    for split in splits:
        yield from datamodule.table.loc[datamodule.table["split"] == split, "path"]
