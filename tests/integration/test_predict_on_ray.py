"""`retinai predict engine=ray`: two workers of a Ray on this machine; the job is killed, and one of its workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

pytest.importorskip("ray", reason="needs pip install retinai[ray]")

PHOTOGRAPHS, PART = 300, 20


@pytest.fixture(scope="module")
def photographs(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small photographs (copies under names of their own), and two files that are none."""
    folder = tmp_path_factory.mktemp("many")
    sources = sorted((synthetic_aptos / "train_images").glob("*.png"))
    for number in range(PHOTOGRAPHS - 2):
        shutil.copy(sources[number % len(sources)], folder / f"p{number:04d}.png")
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no photograph")
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ckpt=a.ckpt"], "model=FOLDER"),
        (["model=nowhere", "format=kaggle"], "leave out format=kaggle"),
        (["model=nowhere"], "nowhere"),
    ],
)
def test_what_makes_no_sense_on_ray_is_refused(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    out = tmp_path / "grades"
    assert command("predict", "engine=ray", f"images={tmp_path}", f"out={out}", *words) == 2
    assert said in capsys.readouterr().err and not out.exists()


def statistics(out: Path) -> dict[str, dict]:
    found = {}
    for file in sorted(out.glob("part-*.parquet")):
        found[file.name] = json.loads(pq.read_metadata(file).metadata[b"retinai"])
    return found


def wait_for_parts(out: Path, job: subprocess.Popen, count: int) -> dict[str, dict]:
    """Wait until so many parts are there and return their statistics."""
    until = time.monotonic() + 120
    while time.monotonic() < until and job.poll() is None:
        if len(found := statistics(out)) >= count:
            return found
        time.sleep(0.05)
    pytest.fail(f"{count} parts never came; the job ended with {job.poll()}: {job.communicate()}")


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_there_twice(tiny_export: Path, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "grades"
    words = [f"model={tiny_export}", "engine=ray", f"images={photographs}/**", f"out=file://{out}",
             f"part_size={PART}", "num_workers=2", "batch_size=8"]  # fmt: skip

    def start() -> subprocess.Popen:
        line = [sys.executable, "-m", "retinai.cli", "predict", *words]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    job = start()
    before = wait_for_parts(out, job, 2)
    job.kill()  # the whole job
    job.wait()
    time.sleep(1)
    kept = {name: (out / name).stat().st_mtime_ns for name in before}
    job = start()
    graded = wait_for_parts(out, job, len(before) + 2)
    os.kill(next(graded[name]["process"] for name in graded if name not in before), signal.SIGKILL)  # one worker
    said, errors = job.communicate(timeout=300)
    assert job.returncode == 0, errors
    assert f"{PHOTOGRAPHS} photographs, 2 could not be read, {PHOTOGRAPHS // PART} files" in said
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept  # what was there was not graded again
    table = pd.read_parquet(out)
    assert len(table) == PHOTOGRAPHS and sorted(table["path"]) == sorted(map(str, photographs.iterdir()))
    from retinai.runtime import ExportedModel

    plain = ExportedModel(tiny_export, threads=1).predict(photographs, workers=0).set_index("path")
    found = table.set_index("path").loc[plain.index]
    probabilities = [name for name in plain if name.startswith("p_")]
    np.testing.assert_allclose(found[probabilities], plain[probabilities], atol=1e-6)
    assert found["error"].tolist() == plain["error"].tolist()
    job = start()
    said, _ = job.communicate(timeout=300)
    assert job.returncode == 0 and "all of them were graded before" in said
