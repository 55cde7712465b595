"""Folders of grades that were damaged, or cannot be written: one sentence each, and nothing hidden is left."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("ray", reason="needs pip install retinai[ray]")

from retinai.batch_inference.job import Job, open_job, write_whole
from retinai.batch_inference.parts import part_name, statistics_of
from retinai.errors import UserError


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], Job]:
    """What opens the job of five photographs in two parts, whose model needs only a name here."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    (tmp_path / "photographs").mkdir()
    for number in range(5):
        (tmp_path / "photographs" / f"{number}.png").write_bytes(b"x")
    model, images, out = (str(tmp_path / name) for name in ("model", "photographs", "out"))
    return lambda: open_job(model, images, out, 3, overwrite=False)


def job(**changed: Any) -> Callable[[Path], Any]:
    def change(out: Path) -> None:
        content = json.loads((out / "_job.json").read_text())
        (out / "_job.json").write_text(json.dumps({**content, **changed}))

    return change


def text(content: str) -> Callable[[Path], Any]:
    return lambda out: (out / "_job.json").write_text(content)


def pipe(out: Path) -> None:
    (out / "_job.json").unlink()
    os.mkfifo(out / "_job.json")


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text": (text("x"), "_job.json is damaged"),
    "list": (text("[]"), "_job.json is damaged"),
    "deep": (text("[" * 100_000), "_job.json is damaged"),
    "pipe": (pipe, "_job.json: a named pipe"),
    "unknown key": (job(foo=1), "foo"),
    "photographs that are a text": (job(photographs="x"), "photographs"),
    "more photographs than are listed": (job(photographs=10**9), "are not of one job"),
    "fewer photographs": (job(photographs=1), "are not of one job"),
    "another retinai": (job(format=99), "of another retinai"),
    "no list": (lambda out: (out / "_photographs.parquet").unlink(), "_photographs.parquet is missing or damaged"),
    "a damaged list": (lambda out: (out / "_photographs.parquet").write_bytes(b"PAR1"), "missing or damaged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_job_is_not_gone_on_with(damage: str, opened: Callable[[], Job], tmp_path: Path) -> None:
    assert opened() == opened()
    change, told = DAMAGE[damage]
    change(tmp_path / "out")
    with pytest.raises(UserError) as caught:
        opened()
    assert told in str(caught.value) and "overwrite=true" in str(caught.value)


@pytest.mark.parametrize("damage", ["garbage", "another table", "folder", "another part"])
def test_a_damaged_part_is_named(damage: str, opened: Callable[[], Job], tmp_path: Path) -> None:
    done = opened()
    file = tmp_path / "out" / part_name(1)
    if damage == "garbage":
        file.write_bytes(b"PAR1xx")
    elif damage == "folder":
        file.mkdir()
    else:
        pd.DataFrame({"a": [1]}).to_parquet(file)
    with pytest.raises(UserError, match=r"part-000001\.parquet is damaged, or no part of this job"):
        statistics_of(done, 1)


@pytest.mark.parametrize("place", ["file", "below a file"])
def test_a_place_that_cannot_be_written_is_one_sentence(place: str, opened: Callable[[], Job], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    if place == "file":
        (tmp_path / "out").symlink_to(file)
        words = str(tmp_path / "out")
    else:
        words = str(file / "out")
    with pytest.raises(UserError, match="cannot be"):
        open_job(str(tmp_path / "model"), str(tmp_path / "photographs"), words, 3, overwrite=False)
    assert file.read_text() == "mine"


def test_what_a_killed_job_left_is_removed(opened: Callable[[], Job], tmp_path: Path) -> None:
    done = opened()
    dead = 4_000_000  # above the highest number of a process
    left = tmp_path / "out" / f".{part_name(0)}.{socket.gethostname()}-{dead}.0123456789abcdef"
    left.write_bytes(b"half")
    write_whole(done, part_name(0), b"x")
    assert opened() == done and not left.exists()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "_job.json",
        "_photographs.parquet",
        part_name(0),
    ]


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "127.0.0.1:x", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_told_at_once(address: str) -> None:
    from retinai.batch_inference.engine import Workers, _ray

    with pytest.raises(UserError, match=rf"ray_address={address}"), _ray(Workers(address=address)):
        pass
