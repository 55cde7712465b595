"""Faults of data sets and caches through `prepare` and `train`: one sentence with code 2, or mended and told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_network import SMALL_NETWORK

Command = Callable[..., int]
NETWORK = [*SMALL_NETWORK, "backbone.input_size=32"]
TRAINING = [*NETWORK, "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
TRAINING += ["logger=none", "test=false", "calibrate=false"]


@pytest.fixture(scope="module")
def good(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A folder with 30 photographs of APTOS as `aptos`, and what `prepare` made of them as `cache`."""
    folder = tmp_path_factory.mktemp("faults")
    shutil.copytree(synthetic_aptos, folder / "aptos")
    (folder / "aptos" / "test.csv").unlink()
    labels = pd.read_csv(folder / "aptos" / "train.csv", dtype=str).head(30)
    labels.to_csv(folder / "aptos" / "train.csv", index=False)
    assert command("prepare", *words(folder), *NETWORK, f"run_dir={folder / 'findings'}") == 0
    return folder


@pytest.fixture
def place(good: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil; the photographs are links."""
    shutil.copytree(good / "cache", tmp_path / "cache")
    (tmp_path / "aptos").mkdir()
    shutil.copy(good / "aptos" / "train.csv", tmp_path / "aptos")
    (tmp_path / "aptos" / "train_images").mkdir()
    for file in (good / "aptos" / "train_images").iterdir():
        (tmp_path / "aptos" / "train_images" / file.name).symlink_to(file)
    return tmp_path


def words(folder: Path) -> list[str]:
    return ["data=aptos", f"data.root={folder / 'aptos'}", f"paths.cache={folder / 'cache'}"]


def first(place: Path) -> Path:
    name = pd.read_csv(place / "aptos" / "train.csv", dtype=str)["id_code"][0]
    return place / "aptos" / "train_images" / f"{name}.png"


def _put(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(place: Path) -> None:
        path = first(place)
        path.unlink()
        make(path)

    return change


def _table(name: str, content: bytes | Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def change(place: Path) -> None:
        path = place / "aptos" / name
        path.write_bytes(content if isinstance(content, bytes) else content(path.read_bytes()))

    return change


def _lines(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda text: b"\n".join(change(line) if n else line for n, line in enumerate(text.splitlines())) + b"\n"


def _index_folder(place: Path) -> None:
    (place / "cache" / "file_index.jsonl").unlink()
    (place / "cache" / "file_index.jsonl").mkdir()


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (_put(os.mkfifo), "cannot be used"),
    "an endless device": (_put(lambda path: path.symlink_to("/dev/zero")), "cannot be used"),
    "a link to itself": (_put(lambda path: path.symlink_to(path)), "cannot be used"),
    "empty test.csv": (_table("test.csv", b""), "test.csv is empty"),
    "garbled test.csv": (_table("test.csv", bytes(range(256))), "test.csv cannot be read"),
    "test.csv is a pipe": (lambda place: os.mkfifo(place / "aptos" / "test.csv"), "test.csv cannot be used"),
    "zero byte": (_table("train.csv", lambda text: text + b"a\0b,1\n"), "line 32 holds a zero byte"),
    "long number": (_table("train.csv", lambda text: text + b"x," + b"9" * 5000), "5,000 characters"),
    "second column": (
        _table("train.csv", lambda text: text.replace(b"diagnosis", b"diagnosis,diagnosis", 1)), "stands there twice"
    ),
    "a field too many": (_table("train.csv", _lines(lambda line: line + b",1")), "more fields than the header"),
    "absolute id": (_table("train.csv", lambda text: text + b"/etc/passwd,1\n"), "lead out of"),
    "id above the root": (_table("train.csv", lambda text: text + b"../../x,1\n"), "lead out of"),
    "a folder in the index's place": (_index_folder, "file_index.jsonl is no file"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_in_one_sentence(
    place: Path, command: Command, capsys: pytest.CaptureFixture[str], change: Callable[[Path], object], told: str
) -> None:
    change(place)
    for name, more in (("prepare", NETWORK), ("train", TRAINING)):
        capsys.readouterr()
        assert command(name, *words(place), *more, f"run_dir={place / name}") == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said and told in " ".join(said[said.index("error: ") :].split()), (name, said)
    assert not (place / "train").exists()


def _invert(place: Path) -> None:
    for file in (place / "cache").rglob("*.npy"):
        content = bytearray(file.read_bytes())
        content[128:-4] = bytes(255 - value for value in content[128:-4])
        file.write_bytes(content)


def _index(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def spoil(place: Path) -> None:
        file = place / "cache" / "file_index.jsonl"
        file.write_bytes(b"\n".join(change(line) for line in file.read_bytes().splitlines() if line) + b"\n")

    return spoil


def _same_hash(line: bytes) -> bytes:
    start = line.index(b'"sha256": "') + 11
    return line[:start] + b"0" * 64 + line[start + 64 :]


MENDED: dict[str, tuple[Callable[[Path], object], str]] = {
    "inverted pixels": (_invert, "damaged or of an older kind, made anew: 30"),
    "equal hashes": (_index(_same_hash), "dropped: 60; their photographs are read again"),
    "garbled lines": (_index(lambda line: line[::-1]), "dropped: 60; their photographs are read again"),
}


@pytest.mark.parametrize(("change", "told"), MENDED.values(), ids=MENDED.keys())
def test_mended_by_prepare_and_told(
    good: Path,
    place: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], object],
    told: str,
) -> None:
    prepare = ["prepare", *words(place), *NETWORK, f"run_dir={place / 'findings'}"]
    assert command(*prepare) == 0  # the index then knows the links
    change(place)
    for again in (False, True):
        capsys.readouterr()
        assert command(*prepare) == 0
        said = " ".join("".join(capsys.readouterr()).split())
        assert (told in said) is not again and "photographs: 30, of which 0 cannot be used" in said
        assert len(pd.read_csv(place / "findings" / "duplicates.csv")) == 0
    for file in (good / "cache").rglob("*.npy"):
        np.testing.assert_array_equal(np.load(place / "cache" / file.relative_to(good / "cache")), np.load(file))
