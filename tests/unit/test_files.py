"""Files are whole or not there."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from retinai.errors import UserError
from retinai.files import atomic_path, place_fault, write_json, write_text


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"x": 1})
    write_json(tmp_path / "a" / "b.json", {"x": 2})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"x": 2}
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.json"]


def test_a_limit_on_the_size_of_files_is_one_sentence(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            UserError, match=r"no file may be that large here: .*a\.txt could not be written; raise the"
        ):
            write_text(tmp_path / "a.txt", "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_the_former_file_and_no_other(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError("in between")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_not_a_number_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    # /dev/full answers every write as a full disk does.
    refused = pytest.raises(UserError, match=r"the disk is full: .*a\.txt")
    with refused, atomic_path(tmp_path / "a.txt"), Path("/dev/full").open("w", buffering=1) as full:
        full.write("x\n")
    assert not list(tmp_path.iterdir())


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "a.txt"):
        (tmp_path / "missing").read_text()
    assert caught.value.errno == errno.ENOENT


def test_a_limit_on_open_files_is_one_sentence() -> None:
    fault = place_fault(OSError(errno.EMFILE, "Too many open files"))
    assert fault is not None and "too many open files" in str(fault) and "ulimit -n" in str(fault)
    assert place_fault(OSError(errno.ECHILD, "No child processes")) is None
