"""Files of embeddings, and half computed ones, that were damaged or made to harm: one sentence each."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retinai.embeddings import files
from retinai.embeddings.files import read_embeddings, write_embeddings
from retinai.embeddings.unfinished import PartialEmbeddings
from retinai.errors import DataError, UserError

PREPROCESSING = {"input_size": 32, "mean": [0.5] * 3, "std": [0.2] * 3}
INFO: dict[str, Any] = {"backbone": "x", "weights": "none", "pooling": "own", "preprocessing": PREPROCESSING}
ARRAYS: dict[str, Any] = {
    "embedding": np.ones((2, 3), np.float32), "id": np.array(["a", "b"]), "path": np.array(["a.png", "b.png"]),
    "sha256": np.array(["0", "1"]), "info": np.array(json.dumps(INFO)),
}  # fmt: skip


def arrays(file: Path, **changed: Any) -> None:
    with file.open("wb") as stream:
        np.savez(stream, **{**ARRAYS, **changed})


def said(file: Path, **changed: Any) -> None:
    arrays(file, info=np.array(json.dumps({**INFO, **changed})))


def bomb(file: Path) -> None:
    """A small file that unpacks to a large one."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 150000), }".ljust(117) + b"\n"
    arrays(file)
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(f"{file}.new", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in set(whole.namelist()) - {"embedding.npy"}:
            archive.writestr(name, whole.read(name))
        with archive.open("embedding.npy", "w", force_zip64=True) as member:
            member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
            member.write(bytes(1_200_000))
    Path(f"{file}.new").replace(file)


def header_fields(file: Path, local: int, central: int, value: int) -> None:
    """Change a field of all headers of the archive."""
    arrays(file)
    data = bytearray(file.read_bytes())
    for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            data[place + offset : place + offset + 2] = struct.pack("<H", value)
    file.write_bytes(data)


HARMFUL: dict[str, Callable[[Path], None]] = {
    "bomb": bomb,
    "encrypted": lambda file: header_fields(file, 6, 8, 1),
    "packed in an unknown way": lambda file: header_fields(file, 8, 10, 99),
    "texts for numbers": lambda file: arrays(file, embedding=np.array([["1", "2"], ["3", "4"]])),
    "complex numbers": lambda file: arrays(file, embedding=np.ones((2, 3), np.complex64)),
    "no numbers": lambda file: arrays(file, embedding=np.ones((2, 0), np.float32)),
    "names that are numbers": lambda file: arrays(file, id=np.array([1, 2])),
    "info nested deeply": lambda file: arrays(file, info=np.array("[" * 100_000)),
    "info that is a list": lambda file: arrays(file, info=np.array("[1]")),
    "no preprocessing": lambda file: arrays(file, info=np.array(json.dumps({"backbone": "x"}))),
    "preprocessing that is a text": lambda file: said(file, preprocessing="x"),
    "an input of no pixels": lambda file: said(file, preprocessing=PREPROCESSING | {"input_size": 0}),
    "a list of unreadable ones": lambda file: said(file, unreadable=["x"]),
}


@pytest.mark.parametrize("harm", HARMFUL)
def test_what_is_no_file_of_embeddings_is_refused(harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_UNPACKED", 1_000_000)
    file = tmp_path / "e.npz"
    HARMFUL[harm](file)
    with pytest.raises(DataError, match=r"e\.npz"):
        read_embeddings(file)


def test_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"id": ["a"], "path": ["a"], "sha256": ["0"], "embedding": [[1.0, 2.0]]})
    parquet.write_table(table.replace_schema_metadata({"retinai": json.dumps(INFO)}), tmp_path / "e.parquet")
    with pytest.raises(DataError, match=r"e\.parquet"):
        read_embeddings(tmp_path / "e.parquet")


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_odd_names_come_back_as_they_were(suffix: str, tmp_path: Path) -> None:
    names = ["=cmd", "a\nb", "\udcff", "-x", "plain"]
    texts = {"id": names, "path": names, "sha256": ["0"] * 5}
    write_embeddings(tmp_path / f"e.{suffix}", np.ones((5, 2), np.float32), range(5), texts, INFO)
    assert read_embeddings(tmp_path / f"e.{suffix}").ids == names


PLAN = {"weights": "x"}


def begun(folder: Path) -> Path:
    """Return what a killed command left."""
    partial = PartialEmbeddings(folder / "e.npz", PLAN, 3, 4, "float16")
    partial.add([0], np.ones((1, 4), np.float32), ["0"])
    partial.close()
    return partial.folder


def replaced(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "vectors cut": lambda folder: os.truncate(folder / "embedding.npy", 130),
    "vectors empty": lambda folder: os.truncate(folder / "embedding.npy", 0),
    "vectors gone": lambda folder: (folder / "embedding.npy").unlink(),
    "vectors a pipe": lambda folder: piped(folder / "embedding.npy"),
    "vectors of objects": lambda folder: np.save(folder / "embedding.npy", np.array([{}])),
    "vectors of another shape": lambda folder: np.save(folder / "embedding.npy", np.zeros((2, 2), np.float16)),
    "rows a pipe": lambda folder: piped(folder / "rows.jsonl"),
    "rows binary": lambda folder: replaced(folder / "rows.jsonl", b"\xff\n"),
    "rows nested deeply": lambda folder: replaced(folder / "rows.jsonl", b"[" * 100_000 + b"\n"),
    "row that is a list": lambda folder: replaced(folder / "rows.jsonl", b"[1]\n"),
    "number that is a list": lambda folder: replaced(folder / "rows.jsonl", b'{"row": [1], "sha256": "x"}\n'),
    "row with nothing known": lambda folder: replaced(folder / "rows.jsonl", b'{"row": 0}\n'),
    "hash that is a number": lambda folder: replaced(folder / "rows.jsonl", b'{"row": 0, "sha256": 5}\n'),
    "row beyond the last": lambda folder: replaced(folder / "rows.jsonl", b'{"row": 3, "sha256": "x"}\n'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_half_is_not_gone_on_with(damage: str, tmp_path: Path) -> None:
    folder = begun(tmp_path)
    DAMAGE[damage](folder)
    with pytest.raises(UserError, match="is damaged; remove it"):
        PartialEmbeddings(tmp_path / "e.npz", PLAN, 3, 4, "float16")


@pytest.mark.parametrize("plan", ["pipe", "deep", "gone"])
def test_a_half_whose_plan_cannot_be_read_is_begun_anew(plan: str, tmp_path: Path) -> None:
    file = begun(tmp_path) / "plan.json"
    file.unlink()
    if plan != "gone":
        os.mkfifo(file) if plan == "pipe" else file.write_text("[" * 100_000)
    partial = PartialEmbeddings(tmp_path / "e.npz", PLAN, 3, 4, "float16")
    assert partial.replaced and not partial.done
    partial.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_second_command_for_the_same_file_is_refused(tmp_path: Path) -> None:
    partial = PartialEmbeddings(tmp_path / "e.npz", PLAN, 3, 4, "float16")
    code = f"""
from pathlib import Path
from retinai.embeddings.unfinished import PartialEmbeddings
PartialEmbeddings(Path({str(tmp_path / "e.npz")!r}), {{"weights": "other"}}, 3, 4, "float32")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "is in use by another retinai embed" in done.stderr
    partial.add([0], np.ones((1, 4), np.float32), ["0"])
    partial.close()
    assert PartialEmbeddings(tmp_path / "e.npz", PLAN, 3, 4, "float16").resumed


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no room")
def test_room_is_taken_before_work_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match="the disk is full"):
        PartialEmbeddings(tmp_path / "e.npz", PLAN, 3, 4, "float16")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    partial = PartialEmbeddings(tmp_path / "e.npz", PLAN, 1000, 1000, "float32")
    assert (partial.folder / "embedding.npy").stat().st_blocks * 512 >= 4_000_000
    partial.close()
    shutil.rmtree(partial.folder)
