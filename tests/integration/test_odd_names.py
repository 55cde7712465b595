"""Photographs of odd names and kinds through segment and explain: a row each, and no end before it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from retinai.errors import UserError
from retinai.files import read_csv

NAMES = [b"good.png", b"\xff\xfe.png", b"a\nb.png", b"=cmd.png", b"$\\frac$.png"]


@pytest.fixture
def photographs(synthetic_aptos: Path, tmp_path: Path) -> Path:
    """Five readable photographs, and what is none."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    content = next((synthetic_aptos / "train_images").iterdir()).read_bytes()
    for name in NAMES:
        (folder / os.fsdecode(name)).write_bytes(content)
    (folder / "bad.png").write_bytes(b"x")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    return folder


def test_segment(photographs: Path, tmp_path: Path, command: Callable[..., int]) -> None:
    pytest.importorskip("skimage")
    out = tmp_path / "masks"
    assert (
        command("segment", f"images={photographs}", f"out={out}", "vessels=sato", "num_workers=0", "preview=true") == 0
    )
    table = read_csv(out / "segment.csv")
    assert len(table) == 8 and (table["error"] == "").sum() == 5
    assert sorted(table["id"][table["error"] == ""]) == sorted(os.fsdecode(Path(os.fsdecode(n)).stem) for n in NAMES)
    assert all((out / mask).is_file() for mask in table["mask"] if mask)


def test_worklist(
    photographs: Path, tiny_export: Path, tmp_path: Path, run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_cli("worklist", f"model={tiny_export}", f"images={photographs}", "out=list.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = read_csv(tmp_path / "list.csv")
    # Small drawings: whichever photograph it is, it was read, and then graded or found to be too far from a retina.
    drawn = (tmp_path / "list.html").read_text().count("does not look like a photograph of the retina")
    assert len(table) == 8 and (table["prediction"] != "").sum() + drawn == 5, done.stdout
    assert {os.fsdecode(Path(os.fsdecode(n)).stem) for n in NAMES} <= set(table["id"])


def test_what_a_stopped_worker_was_writing_is_removed(
    photographs: Path, tmp_path: Path, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("skimage")
    left = tmp_path / "masks" / f".good.{socket.gethostname()}-4000000.png"  # above the highest number of a process

    def stopped(*_: object) -> None:
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"half")
        raise UserError("a worker process was killed")

    monkeypatch.setattr("retinai.vessels.segment.run_parallel", stopped)
    words = [f"images={photographs}", f"out={left.parent}", "vessels=sato", "num_workers=0"]
    assert command("segment", *words) == 2
    assert not left.exists()


def test_explain(photographs: Path, tiny_checkpoint: Path, tmp_path: Path, command: Callable[..., int]) -> None:
    words = [f"images={photographs}", f"run_dir={tmp_path / 'e'}", "layer=layer1", "resamples=10", "num_workers=0"]
    assert command("explain", f"ckpt={tiny_checkpoint}", *words, "accelerator=cpu") == 0
    table = read_csv(tmp_path / "e" / "maps.csv")
    assert len(table) == 5 and all((tmp_path / "e" / "maps" / file).is_file() for file in table["file"])
    assert not (tmp_path / "e" / ".lock").exists()


def test_the_dashboard_of_a_run_whose_folder_is_not_utf8(
    tiny_runs: list[Path], tmp_path: Path, command: Callable[..., int]
) -> None:
    shutil.copytree(tiny_runs[0], tmp_path / "outputs" / os.fsdecode(b"\xff"))
    assert command("dashboard", tmp_path / "outputs", f"out={tmp_path / 'page'}", "wandb=false") == 0
    page = (tmp_path / "page" / "dashboard.html").read_text(encoding="utf-8")
    assert "outputs/%FF/report.html" in page and "udcff" in page
