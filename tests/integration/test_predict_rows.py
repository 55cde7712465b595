"""`retinai predict`, with and without PyTorch: every name gets its row, and every row can be read back."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from retinai.files import read_csv

Command = Callable[..., int]

# File name, what is there ("good": a photograph), and the reason that its row gives.
CASES: dict[bytes, tuple[str, str]] = {
    b"plain.png": ("good", ""),
    b"caf\xe9.png": ("good", ""),
    rb"caf\xe9.png": ("good", ""),
    "café.png".encode(): ("good", ""),
    b"=cmd|'C calc'!A0.png": ("good", ""),
    b"'=1.png": ("good", ""),
    b"+1.png": ("good", ""),
    b"-1.png": ("good", ""),
    b"@SUM(A1).png": ("good", ""),
    b"\ttab.png": ("good", ""),
    b"cut\rhere.png": ("good", ""),
    b"two\nlines.png": ("good", ""),
    b"NA.png": ("good", ""),
    b"[red]markup[red].png": ("good", ""),
    b"dangling.png": ("link:nowhere.png", "no such file"),
    b"dangling\xe9.png": ("link:nowhere.png", "no such file"),
    b"loop.png": ("link:loop.png", "Too many levels of symbolic links"),
    b"endless.png": ("link:/dev/zero", "a device, not a file"),
    b"album.png": ("link:.", "a folder, not a file"),
    b"pipe.png": (f"node:{stat.S_IFIFO}", "a named pipe, not a file"),
    b"socket.png": (f"node:{stat.S_IFSOCK}", "a socket, not a file"),
}


@pytest.fixture(scope="module")
def tables(
    tiny_checkpoint: Path,
    tiny_export: Path,
    synthetic_aptos: Path,
    command: Command,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, pd.DataFrame]:
    """The tables of all cases, from the checkpoint and from the exported folder, by id."""
    place = tmp_path_factory.mktemp("names")
    photos = place / "photos"
    photos.mkdir()
    good = next((synthetic_aptos / "train_images").glob("*.png"))
    for name, (kind, _) in CASES.items():
        path = os.fsdecode(os.fsencode(photos) + b"/" + name)
        what, _, detail = kind.partition(":")
        if what == "link":
            Path(path).symlink_to(detail)
        elif what == "node":
            os.mknod(path, int(detail) | 0o600)
        else:
            shutil.copy(good, path)
    found = {}
    for way, words in {"ckpt": [f"ckpt={tiny_checkpoint}"], "model": [f"model={tiny_export}"]}.items():
        out = place / f"{way}.csv"
        assert command("predict", *words, f"images={photos}", f"out={out}", "accelerator=cpu", "num_workers=0") == 0
        found[way] = read_csv(out).set_index("path")
    return {**found, "raw": read_csv(out, escaped=False)}


@pytest.mark.parametrize(("name", "kind", "reason"), [(name, *case) for name, case in CASES.items()], ids=repr)
def test_every_name_gets_its_row(tables: dict[str, pd.DataFrame], name: bytes, kind: str, reason: str) -> None:
    for way in ("ckpt", "model"):
        table = tables[way]
        assert len(table) == len(CASES)
        [path] = [path for path in table.index if os.fsencode(Path(path).name) == name]
        row = table.loc[path]
        assert os.fsencode(row["id"] + ".png") == name
        assert (row["prediction"] != "") == (kind == "good") and (row["p_mild"] != "") == (kind == "good")
        assert reason in row["error"] if reason else row["error"] == ""


def test_a_spreadsheet_calculates_no_cell(tables: dict[str, pd.DataFrame]) -> None:
    for column in ("id", "path", "error"):
        assert not tables["raw"][column].str.match(r"[=+\-@\t\r\n]").any()


@pytest.mark.parametrize(
    ("pattern", "rows"),
    [("*", 5), ("*.png", 4), ("dangling.png", 1), ("pipe.png", 1), ("sub", 1), ("a[1].png", 1)],
)
def test_patterns_and_single_names_get_their_rows_too(
    tiny_checkpoint: Path, command: Command, tmp_path: Path, pattern: str, rows: int
) -> None:
    photos = tmp_path / "photos"
    (photos / "sub" / "folder.png").mkdir(parents=True)
    (photos / "sub" / "folder.png" / "empty.png").touch()
    (photos / "a[1].png").symlink_to("nowhere")
    (photos / "dangling.png").symlink_to("nowhere")
    (photos / "album.png").symlink_to("sub")
    (photos / "sub link").symlink_to("sub")
    (photos / "notes.txt").touch()
    os.mkfifo(photos / "pipe.png")
    words = [f"ckpt={tiny_checkpoint}", f"images='{photos / pattern}'", f"out={tmp_path / 'p.csv'}"]
    assert command("predict", *words, "accelerator=cpu", "num_workers=0") == 0
    table = read_csv(tmp_path / "p.csv")
    assert len(table) == rows and (table["error"] != "").all()
