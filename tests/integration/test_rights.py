"""Files and folders that the user has no right to read: one sentence with the path and the reason, no traceback."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

Command = Callable[..., int]

# Capabilities of Linux by which root passes over permissions, and the version of the calls.
_PASSES_OVER = (1, 2)
_VERSION = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


@pytest.fixture
def plain_rights(tmp_path: Path) -> Iterator[None]:
    """Let permissions hold for this thread, also where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    if not Path("/proc/self/status").exists():
        pytest.skip("permissions do not hold for root, and only Linux lets it give that up")
    libc, header, sets = ctypes.CDLL(None), _Header(_VERSION, 0), (_Sets * 2)()
    assert libc.capget(ctypes.byref(header), sets) == 0
    before = sets[0].effective
    for number in _PASSES_OVER:
        sets[0].effective &= ~(1 << number)
    assert libc.capset(ctypes.byref(header), sets) == 0
    yield
    sets[0].effective = before
    assert libc.capset(ctypes.byref(header), sets) == 0


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Return a function that takes every right to a file or folder away; it is given back at the end."""
    places: list[Path] = []

    def lock(place: Path) -> Path:
        places.append(place)
        place.chmod(0)
        return place

    yield lock
    for place in places:
        place.chmod(0o700)


@pytest.mark.usefixtures("plain_rights")
@pytest.mark.parametrize("name", ["network.onnx", "model.json", "."])
def test_an_exported_folder(
    name: str,
    tiny_export: Path,
    synthetic_aptos: Path,
    locked: Callable[[Path], Path],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(tiny_export, tmp_path / "folder"))
    locked(folder / name)
    words = [f"model={folder}", f"images={synthetic_aptos / 'train_images'}", f"out={tmp_path / 'o.csv'}"]
    assert command("predict", *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and str(folder) in said and "permission denied" in said.lower(), said
    assert "Traceback" not in said and not (tmp_path / "o.csv").exists()


@pytest.mark.usefixtures("plain_rights")
def test_a_checkpoint(
    tiny_checkpoint: Path,
    synthetic_aptos: Path,
    locked: Callable[[Path], Path],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = locked(Path(shutil.copy(tiny_checkpoint, tmp_path / "x.ckpt")))
    words = [f"ckpt={file}", f"images={synthetic_aptos / 'train_images'}", f"out={tmp_path / 'o.csv'}"]
    assert command("predict", *words, "accelerator=cpu") == 2
    said = capsys.readouterr().err
    assert f"checkpoint {file} cannot be used: permission denied" in said and "truncated" not in said, said


@pytest.mark.usefixtures("plain_rights")
@pytest.mark.parametrize("name", ["x.npz", "x.parquet"])
def test_embeddings(
    name: str,
    synthetic_aptos: Path,
    locked: Callable[[Path], Path],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / name).write_bytes(b"embeddings")
    file = locked(tmp_path / name)
    words = [f"embeddings={file}", "data=aptos", f"data.root={synthetic_aptos}", f"run_dir={tmp_path / 'p'}"]
    assert command("probe", *words, f"paths.cache={tmp_path / 'cache'}") == 2
    said = capsys.readouterr().err
    assert f"embeddings={file} cannot be read: permission denied" in said and "truncated" not in said, said


@pytest.mark.usefixtures("plain_rights")
def test_a_folder_of_photographs_is_not_called_empty(
    synthetic_aptos: Path,
    locked: Callable[[Path], Path],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = Path(shutil.copytree(synthetic_aptos, tmp_path / "aptos"))
    folder = locked(root / "train_images")
    words = ["data=aptos", f"data.root={root}", f"run_dir={tmp_path / 'run'}", f"paths.cache={tmp_path / 'cache'}"]
    assert command("train", *words, "trainer=cpu", "logger=none") == 2
    said = capsys.readouterr().err
    assert f"{folder} cannot be used: permission denied" in said and "missing" not in said, said


@pytest.mark.usefixtures("plain_rights")
@pytest.mark.parametrize("name", ["runs", "report"])
def test_a_run_folder_is_left_out_with_a_word(
    name: str,
    tiny_runs: list[Path],
    locked: Callable[[Path], Path],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outputs = tmp_path / "outputs"
    for number, run in enumerate(tiny_runs):
        shutil.copytree(run, outputs / str(number))
    folder = locked(outputs / "1")
    words = [f"root={outputs}"] if name == "runs" else [outputs, f"out={tmp_path / 'r'}", "resamples=10"]
    assert command(name, *words) == 0
    said = capsys.readouterr()
    assert f"the folder {folder} cannot be searched (permission denied): runs in it are left out" in said.err
    if name == "report":
        assert pd.read_csv(tmp_path / "r" / "report.csv")["kind"].tolist().count("run") == 1
    else:
        assert "1 runs" in said.out
