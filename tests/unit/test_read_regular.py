"""Only regular files are read: pipes and devices may never end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from retinai.data.curation.file_index import FileIndex
from retinai.data.photographs import images
from retinai.data.photographs.images import BadImageError, read_bytes
from retinai.files import UnreadableError, read_regular


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path may have 107 bytes only
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as handle:
        handle.truncate(2**40)  # a terabyte of zeros that takes no place


def _loop(path: Path) -> None:
    path.symlink_to(path)


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda path: None, "no such file"),
    "pipe": (os.mkfifo, "a named pipe, not a file"),
    "link to an endless device": (lambda path: path.symlink_to("/dev/zero"), "a device, not a file"),
    "link to a terminal": (lambda path: path.symlink_to("/dev/tty"), "not"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "no such file"),
    "link to itself": (_loop, "cannot be read (Too many levels of symbolic links)"),
    "socket": (_socket, "a socket, not a file"),
    "folder": (Path.mkdir, "a folder, not a file"),
    "sparse": (_sparse, "larger than 512 MiB"),
}


@pytest.mark.parametrize(("make", "reason"), CASES.values(), ids=CASES.keys())
def test_what_is_not_a_photograph_s_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "a.jpg"
    make(path)
    with pytest.raises(BadImageError) as caught:
        read_bytes(path)
    assert reason in caught.value.reason
    index = FileIndex(tmp_path / "cache")
    assert reason in index.scan([str(path)], workers=0, progress=None)[str(path)].reason
    assert index.content_hash(path) is None


@pytest.mark.parametrize("name", ["a\0b.jpg", "a\ud800.jpg", "a" * 300 + ".jpg"], ids=["zero byte", "half", "long"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    with pytest.raises(BadImageError):
        read_bytes(path)
    assert FileIndex(tmp_path / "cache").scan([path], workers=0, progress=None)[path].reason


def test_links_to_files_are_followed_and_the_limit_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    assert read_bytes(tmp_path / "link.jpg") == b"12345"
    assert read_regular(tmp_path / "a.jpg", 5) == b"12345"
    with pytest.raises(UnreadableError, match="larger"):
        read_regular(tmp_path / "a.jpg", 4)
    monkeypatch.setattr(images, "MAX_BYTES", 4)
    with pytest.raises(BadImageError, match="larger"):
        read_bytes(tmp_path / "a.jpg")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs files that tell no size")
def test_a_file_that_tells_no_size_is_limited_too() -> None:
    with pytest.raises(UnreadableError, match="larger"):
        read_regular("/proc/self/maps", 10)
