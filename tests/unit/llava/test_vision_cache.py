"""Kept vision tokens: computed once, never those of another tower, and made anew where they are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from retinai.data.loading.fields import FieldSample
from retinai.data.photographs.normalise import normalise
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import UserError
from retinai.llava.vision_cache import VisionCache, VisionField

WAY = Preprocessing(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def encode(images: Tensor) -> Tensor:
    """Four tokens of three channels: the means of the quarters."""
    return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(2).transpose(1, 2)


@pytest.fixture
def photographs(tmp_path: Path) -> list[str]:
    generator = np.random.default_rng(0)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file in files:
        Image.fromarray(generator.integers(40, 255, (48, 48, 3), dtype=np.uint8)).save(file)
    return [str(file) for file in files]


def test_tokens_are_those_of_the_prepared_photographs(photographs: list[str], tmp_path: Path) -> None:
    cache = VisionCache(tmp_path / "cache", WAY, "a" * 64, (4, 3))
    assert cache.prepare(photographs, encode) == 3 and cache.prepare(photographs, encode) == 0
    for path in photographs:
        pixels = FieldSample(path, path, WAY).photograph
        expected = encode(torch.from_numpy(normalise(pixels[None], WAY)))[0].numpy()
        kept = cache.load(path)
        assert kept is not None
        np.testing.assert_allclose(kept.astype(np.float32), expected, atol=2e-3)


@pytest.mark.parametrize(
    "other",
    [
        {"tower": "b" * 64},
        {"shape": (1, 3)},
        {"preprocessing": Preprocessing(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), clahe=True)},
    ],
    ids=["another tower", "other tokens", "another preparation"],
)
def test_tokens_of_another_tower_are_never_read(
    photographs: list[str], tmp_path: Path, other: dict[str, object]
) -> None:
    own: dict[str, Any] = {"preprocessing": WAY, "tower": "a" * 64, "shape": (4, 3)}
    VisionCache(tmp_path / "cache", **own).prepare(photographs, encode)
    changed = VisionCache(tmp_path / "cache", **{**own, **other})
    assert all(changed.load(path) is None for path in photographs)


def test_what_is_damaged_or_changed_is_computed_anew(photographs: list[str], tmp_path: Path) -> None:
    cache = VisionCache(tmp_path / "cache", WAY, "a" * 64, (4, 3))
    cache.prepare(photographs, encode)
    file = sorted(cache.folder.glob("*/*.npy"))[0]
    content = bytearray(file.read_bytes())
    content[-8] ^= 0xFF
    file.write_bytes(bytes(content))
    Image.fromarray(np.full((50, 50, 3), 90, np.uint8)).save(photographs[0])
    assert cache.prepare(photographs, encode) in (1, 2)  # one photograph where both faults hit the same
    assert all(cache.load(path) is not None for path in photographs)


def test_missing_tokens_are_one_sentence(photographs: list[str], tmp_path: Path) -> None:
    field = VisionField("a" * 64, (4, 3))
    field.cache = VisionCache(tmp_path / "cache", WAY, "a" * 64, (4, 3))
    with pytest.raises(UserError, match=r"vision tokens of .* are gone or damaged"):
        field.load(FieldSample("x", photographs[0], WAY))
