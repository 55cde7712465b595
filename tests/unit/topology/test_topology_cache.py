"""Persistence images on disk: served only for the same content and settings."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from drawn_eye import draw_eye
from PIL import Image

from retinai.data.loading.fields import FieldContext, FieldSample
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.images import read_photograph
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.topology.cache import TopologyCache
from retinai.topology.field import TopologyField
from retinai.topology.persistence import TopologySettings, persistence_images

PREPROCESSING = Preprocessing(64, (0.5,) * 3, (0.5,) * 3)
SETTINGS = TopologySettings(size=64, resolution=8)


@pytest.fixture
def photographs(tmp_path: Path) -> list[str]:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for n in range(3):
        Image.fromarray(draw_eye(150 + n, 110, 50, seed=n)).save(folder / f"{n}.png")
    (folder / "bad.png").write_text("no photograph")
    time.sleep(0.06)  # new files settle, see test_file_index
    return sorted(map(str, folder.glob("*.png")))


@pytest.fixture
def cache(photographs: list[str], tmp_path: Path) -> TopologyCache:
    records = PreparedCache(tmp_path / "c", PREPROCESSING).prepare(photographs, workers=0, progress=None)
    cache = TopologyCache(tmp_path / "c", PREPROCESSING, SETTINGS)
    assert cache.load(photographs[0]) is None
    assert cache.prepare(records, workers=0, progress=None) == 3
    assert cache.prepare(records, workers=0, progress=None) == 0  # all is there
    return cache


def computed(path: str, settings: TopologySettings = SETTINGS) -> np.ndarray:
    return persistence_images(prepare_photograph(read_photograph(path), PREPROCESSING), settings)


def bound(settings: TopologySettings, cache: TopologyCache) -> TopologyField:
    table = pd.DataFrame(columns=["id", "path"])
    return TopologyField(settings).bind(FieldContext(Mock(), table, PREPROCESSING, cache.cache_dir))


def test_the_cache_gives_what_is_computed_on_the_way(photographs: list[str], cache: TopologyCache) -> None:
    fresh = TopologyCache(cache.cache_dir, PREPROCESSING, SETTINGS)
    for path in photographs[:3]:
        for reader in (cache, fresh):
            np.testing.assert_array_equal(reader.load(path), computed(path))
    assert cache.load(photographs[3]) is None  # the bad file
    assert cache.size() == (3, 3 * (4 * 8 * 8 * 4 + 128 + 4))


def test_the_field_reads_the_cache_and_computes_without(photographs: list[str], cache: TopologyCache) -> None:
    field = bound(SETTINGS, cache)
    black = np.zeros((64, 64, 3), np.uint8)  # whatever is handed over: the cache is asked first
    for path, expected in ((photographs[0], computed(photographs[0])), ("nowhere.png", np.zeros((4, 8, 8)))):
        sample = FieldSample("0", path, PREPROCESSING, photograph=black)
        np.testing.assert_array_equal(field.load(sample), expected)


def test_other_settings_find_nothing(photographs: list[str], cache: TopologyCache) -> None:
    others = [replace(SETTINGS, sigma=5.0), replace(SETTINGS, channel="grey"), replace(SETTINGS, resolution=16)]
    for other in others:
        assert TopologyCache(cache.cache_dir, PREPROCESSING, other).load(photographs[0]) is None
        sample = FieldSample("0", photographs[0], PREPROCESSING)
        np.testing.assert_array_equal(bound(other, cache).load(sample), computed(photographs[0], other))
    crop = replace(PREPROCESSING, crop="none")
    assert TopologyCache(cache.cache_dir, crop, SETTINGS).load(photographs[0]) is None
    same = replace(SETTINGS, fusion="gated", width=5)  # how the network reads them does not matter
    assert TopologyCache(cache.cache_dir, PREPROCESSING, same).load(photographs[0]) is not None


def test_an_old_version_finds_nothing(
    photographs: list[str], cache: TopologyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retinai.topology.settings.TOPOLOGY_VERSION", 10_000)
    assert TopologyCache(cache.cache_dir, PREPROCESSING, SETTINGS).load(photographs[0]) is None


def test_a_changed_photograph_finds_nothing(photographs: list[str], cache: TopologyCache) -> None:
    Image.fromarray(draw_eye(150, 110, 50, seed=77)).save(photographs[0])
    assert cache.load(photographs[0]) is None


def test_damaged_files_are_computed_anew(photographs: list[str], cache: TopologyCache) -> None:
    records = PreparedCache(cache.cache_dir, PREPROCESSING).prepare(photographs, workers=0, progress=None)
    for number, damage in enumerate((b"", b"\x93NUMPY", b"text")):
        for file in cache.folder.rglob("*.npy"):
            file.write_bytes(damage)
        assert cache.load(photographs[0]) is None, number
    assert cache.prepare(records, workers=0, progress=None) == 3
    file = next(cache.folder.rglob("*.npy"))
    for array in (np.full((4, 8, 8), np.nan, np.float32), np.zeros((4, 8, 8)), np.zeros((2, 8, 8), np.float32)):
        np.save(file, array)
        assert cache.read(file.stem) is None


def test_prepared_pixels_that_went_missing_are_left_to_be_computed(
    photographs: list[str], cache: TopologyCache
) -> None:
    records = PreparedCache(cache.cache_dir, PREPROCESSING).prepare(photographs, workers=0, progress=None)
    for file in [*cache.folder.rglob("*.npy"), *(cache.cache_dir / PREPROCESSING.pixel_key()).rglob("*.npy")]:
        file.unlink()
    assert cache.prepare(records, workers=0, progress=None) == 0
