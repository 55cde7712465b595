"""Parts of a job without Ray: from and to a file system in memory, bad files as rows, going on, another job refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("ray", reason="needs pip install retinai[ray]")

from retinai.batch_inference.job import list_photographs, open_job
from retinai.batch_inference.parts import fetch, grade_part, missing_parts, part_name, statistics_of
from retinai.data.photographs.images import BadImageError
from retinai.errors import UserError
from retinai.runtime import ExportedModel

IMAGES, OUT = "memory://photographs", "memory://grades"


@pytest.fixture
def memory(synthetic_aptos: Path) -> Iterator[fsspec.AbstractFileSystem]:
    """A file system in memory with seven good photographs in two folders, an empty file and a text."""
    system = fsspec.filesystem("memory")
    for number, path in enumerate(sorted((synthetic_aptos / "train_images").glob("*.png"))[:7]):
        system.pipe_file(f"/photographs/{number % 2}/{number}.png", path.read_bytes())
    system.pipe_file("/photographs/empty.jpg", b"")
    system.pipe_file("/photographs/text.png", b"no photograph")
    yield system
    for folder in ("/photographs", "/grades"):
        if system.exists(folder):
            system.rm(folder, recursive=True)


def test_parts_hold_every_photograph_once_and_what_is_there_stays(
    memory: fsspec.AbstractFileSystem, tiny_export: Path, synthetic_aptos: Path, tmp_path: Path
) -> None:
    grader = ExportedModel(tiny_export, threads=1)
    job = open_job(str(tiny_export), IMAGES, OUT, 4, overwrite=False)
    assert (job.photographs, job.parts, missing_parts(job)) == (9, 3, [0, 1, 2])
    done = grade_part(grader, job, 1, batch_size=3, attempts=2)
    assert done == statistics_of(job, 1) and (done.photographs, done.bad) == (4, 1) and done.processor > 0
    again = open_job(str(tiny_export), IMAGES, OUT, 4, overwrite=False)
    assert again == job and missing_parts(again) == [0, 2]
    for part in (0, 2):
        grade_part(grader, again, part, batch_size=3, attempts=2)
    assert missing_parts(job) == []
    with fsspec.open_files("memory://grades/part-*.parquet") as files:
        table = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    assert table["path"].tolist() == [address for address, _ in list_photographs(IMAGES)]
    errors = dict(zip(table["id"], table["error"], strict=True))
    assert errors == {**{str(i): "" for i in range(7)}, "empty": "empty file", "text": "not an image"}
    # The same files on the disk, by the plain way.
    memory.get("/photographs", str(tmp_path / "photographs"), recursive=True)
    plain = grader.predict(tmp_path / "photographs", workers=0)
    both = plain.merge(table, on="id", suffixes=("", "_ray")).set_index("id")
    assert len(both) == 9
    for name in [column for column in plain if column.startswith("p_")]:
        np.testing.assert_allclose(both[name], both[f"{name}_ray"], atol=1e-6)
    assert both["prediction"].astype("float").equals(both["prediction_ray"].astype("float"))


def test_a_folder_of_another_job_is_refused_unless_it_may_be_replaced(
    memory: fsspec.AbstractFileSystem, tiny_export: Path
) -> None:
    job = open_job(str(tiny_export), IMAGES, OUT, 4, overwrite=False)
    grade_part(ExportedModel(tiny_export, threads=1), job, 0, batch_size=4, attempts=1)
    memory.pipe_file("/grades/mine.txt", b"a note")
    for images, size, said in ((f"{IMAGES}/0", 4, "other photographs"), (IMAGES, 5, "other parts")):
        with pytest.raises(UserError, match=said):
            open_job(str(tiny_export), images, OUT, size, overwrite=False)
    anew = open_job(str(tiny_export), f"{IMAGES}/0", OUT, 2, overwrite=True)
    assert (anew.photographs, anew.parts, missing_parts(anew)) == (4, 2, [0, 1])
    assert memory.exists("/grades/mine.txt") and not memory.exists(f"/grades/{part_name(0)}")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("**.png", 8),
        ("**/*.png", 8),
        ("*.png", 1),
        ("1/*.png", 3),
        ("0/[04].png", 2),
        ("0/0.png", 1),
        ("", 9),
    ],
)
def test_patterns_and_folders(memory: fsspec.AbstractFileSystem, pattern: str, found: int) -> None:
    assert len(list_photographs(f"{IMAGES}/{pattern}")) == found


@pytest.mark.parametrize(
    ("images", "said"),
    [("memory://nowhere", "no photographs were found"), ("nonsense://a", "nonsense"), ("/nowhere/at/all", "no photo")],
)
def test_addresses_that_lead_nowhere_are_a_sentence(images: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        list_photographs(images)


def test_a_local_folder_is_listed_by_plain_paths(synthetic_aptos: Path, tmp_path: Path) -> None:
    source = next((synthetic_aptos / "train_images").glob("*.png"))
    shutil.copy(source, tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("not asked for")
    assert list_photographs(str(tmp_path)) == [(str(tmp_path / "a.png"), source.stat().st_size)]
    assert list_photographs(f"file://{tmp_path}") == list_photographs(str(tmp_path))


class Unsteady:
    """A service that fails a number of times before it answers."""

    protocol = "unsteady"

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error, self.asked = failures, error, 0

    def cat_file(self, path: str) -> bytes:
        self.asked += 1
        if self.asked <= self.left:
            raise self.error
        return b"bytes"


@pytest.mark.parametrize(
    ("failures", "error", "asked", "reason"),
    [
        (1, TimeoutError("slow"), 2, ""),
        (9, TimeoutError("slow"), 2, r"could not be fetched in 2 attempts \(TimeoutError: slow\)"),
        (9, FileNotFoundError("a"), 1, "no such file"),
        (9, PermissionError("forbidden"), 1, "cannot be read"),
    ],
)
def test_what_may_answer_the_next_time_is_asked_again(failures, error, asked, reason) -> None:
    service = Unsteady(failures, error)
    if reason:
        with pytest.raises(BadImageError, match=reason):
            fetch(service, "a.jpg", None, 2)
    else:
        assert fetch(service, "a.jpg", None, 2) == b"bytes"
    assert service.asked == asked
    with pytest.raises(BadImageError, match="too large"):
        fetch(service, "a.jpg", 10**10, 2)
