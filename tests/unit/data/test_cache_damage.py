"""Damage on disk: prepared pixels that were changed are not served, `prepare` mends them, bad lines are told."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_eye import draw_eye
from PIL import Image

from retinai.data.curation.checked_lines import DamagedLineError, LineFile, decode, encode
from retinai.data.curation.duplicates import find_duplicates
from retinai.data.curation.file_index import INDEX_NAME, INDEX_VERSION, FileIndex
from retinai.data.photographs.arrays import file_of, read_array, write_array
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.images import read_photograph
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import UserError

SETTINGS = Preprocessing(48, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for n in range(3):
        Image.fromarray(draw_eye(150 + n, 110, 50, seed=n)).save(folder / f"{n}.png")
    time.sleep(0.06)  # new files settle, see test_file_index
    return sorted(map(str, folder.glob("*.png")))


@pytest.fixture
def cache(paths: list[str], tmp_path: Path) -> PreparedCache:
    cache = PreparedCache(tmp_path / "c", SETTINGS)
    cache.prepare(paths, workers=0, progress=None)
    assert cache.notes == []
    return cache


def files_of(cache: PreparedCache) -> list[Path]:
    return sorted(cache.folder.rglob("*.npy"))


def _invert(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[128:-4] = bytes(255 - value for value in content[128:-4])
    file.write_bytes(content)


def _flip_one_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)


def _swap(file: Path) -> None:
    others = [other for other in file.parents[1].rglob("*.npy") if other != file]
    shutil.copy(others[0], file)


def _without_checksum(file: Path) -> None:
    np.save(file, np.load(file))


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


PIXELS: dict[str, Callable[[Path], None]] = {
    "inverted": _invert,
    "one bit": _flip_one_bit,
    "another photograph": _swap,
    "before checksums": _without_checksum,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "empty": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize("damage", PIXELS.values(), ids=PIXELS.keys())
def test_damaged_pixels_are_not_served_and_prepare_mends_them(
    cache: PreparedCache, paths: list[str], damage: Callable[[Path], None]
) -> None:
    expected = {path: prepare_photograph(read_photograph(path), SETTINGS) for path in paths}
    damage(files_of(cache)[0])
    served = [cache.load(path) for path in paths]
    assert sum(pixels is None for pixels in served) == 1
    assert all(pixels is None or np.array_equal(pixels, expected[p]) for pixels, p in zip(served, paths, strict=True))
    cache.prepare(paths, workers=0, progress=None)
    assert cache.notes == ["prepared photographs that were damaged or of an older kind, made anew: 1"]
    assert all(np.array_equal(cache.load(path), expected[path]) for path in paths)
    cache.prepare(paths, workers=0, progress=None)
    assert cache.notes == []


def test_a_folder_in_the_place_of_pixels_is_named(cache: PreparedCache, paths: list[str]) -> None:
    place = files_of(cache)[0]
    _folder(place)
    with pytest.raises(UserError, match=rf"{place} cannot be written: is a directory"):
        cache.prepare(paths, workers=0, progress=None)


def test_arrays_come_back_as_they_were_and_numpy_reads_them(tmp_path: Path) -> None:
    for array in (np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.zeros((5, 5, 3), np.uint8)):
        file = file_of(tmp_path / "settings", "ab" * 32)
        write_array(file, array)
        found = read_array(file, array.shape, array.dtype.type)
        assert found is not None and found.dtype == array.dtype and found.flags.writeable and found.flags.aligned
        np.testing.assert_array_equal(found, array)
        np.testing.assert_array_equal(np.load(file), array)
        assert read_array(file, array.shape[::-1], array.dtype.type) is None
        assert read_array(file, array.shape, np.int16) is None


def _edit(text: bytes, **change: object) -> bytes:
    """Change values of a line by hand, its checksum left as it was."""
    return json.dumps({**json.loads(text), **change}).encode()


_VERSION = b'{"v": %d, ' % INDEX_VERSION
LINES: dict[str, Callable[[bytes], bytes]] = {
    "another hash": lambda line: _edit(line, sha256="ab" * 32),
    "another path": lambda line: _edit(line, path=["a"]),
    "text for a number": lambda line: _edit(line, width="wide"),
    "no object": lambda line: b"[1, 2]",
    "torn": lambda line: line[:-40],
    "garbage": lambda line: b"\xff\x00\xfe" * 9,
    "deep": lambda line: _VERSION + b'"path": ' + b"[" * 100_000,
    "infinite": lambda line: _edit(line, read_at=float("inf")),
    "long number": lambda line: _VERSION + b'"width": ' + b"9" * 5000 + b"}",
    "half a character": lambda line: _VERSION + b'"path": "\\ud800"}',
}


@pytest.mark.parametrize("damage", LINES.values(), ids=LINES.keys())
def test_damaged_lines_are_dropped_and_told_once(
    cache: PreparedCache, paths: list[str], damage: Callable[[bytes], bytes]
) -> None:
    file = cache.cache_dir / INDEX_NAME
    known = FileIndex(cache.cache_dir).scan(paths, progress=None)
    lines = [line for line in file.read_bytes().split(b"\n") if line]
    lines[1] = damage(lines[1])
    file.write_bytes(b"\n".join(lines) + b"\n")
    index = FileIndex(cache.cache_dir)
    assert sum(index.lookup(path) is None for path in paths) == 1
    assert index.drop_damaged() == [f"damaged lines of {file} dropped: 1; their photographs are read again"]
    assert index.scan(paths, progress=None) == known
    again = FileIndex(cache.cache_dir)
    assert again.drop_damaged() == []
    assert all(again.lookup(path) == known[path] for path in paths)


def test_equal_hashes_written_over_the_index_do_not_make_photographs_one(
    cache: PreparedCache, paths: list[str]
) -> None:
    file = cache.cache_dir / INDEX_NAME
    lines = [_edit(line, sha256="0" * 64, phash="0" * 64) for line in file.read_bytes().split(b"\n") if line]
    file.write_bytes(b"\n".join(lines) + b"\n")
    fresh = PreparedCache(cache.cache_dir, SETTINGS)
    records = fresh.prepare(paths, workers=0, progress=None)
    assert "dropped: 3;" in fresh.notes[0]
    assert len({record.sha256 for record in records.values()}) == 3
    assert find_duplicates(records) == []


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/dev/zero")], ids=["folder", "device"])
def test_what_stands_in_the_index_s_place_is_named(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / INDEX_NAME)
    with pytest.raises(UserError, match=rf"{INDEX_NAME} is no file; .*paths\.cache="):
        FileIndex(tmp_path)


def test_lines_of_other_versions_are_passed_over_without_a_word(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b'{"v": 1, "path": "old"}\n' + encode({"v": 3, "path": "new"}) + b"\n")
    lines = LineFile(file, 2)
    assert list(lines.read_new()) == []
    lines.append({"path": "mine"})
    assert list(lines.read_new()) == [{"path": "mine"}]
    assert lines.drop_damaged() == 0
    with pytest.raises(DamagedLineError):
        decode(b"{}")
