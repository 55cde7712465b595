"""Sweeps through a real SLURM: one array, a job that fails, one that is put back in the queue, what is told of both."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from retinai.synthetic.cohort import write_cohort

Command = Callable[..., int]
TINY = ["data=aptos", "data.num_workers=0", "data.batch_size=4", "backbone=resnet18", "backbone.weights=none",
        "backbone.architecture=test_resnet", "backbone.input_size=24", "trainer=cpu", "logger=none", "calibrate=false",
        "test=false", "callbacks.early_stopping=null"]  # fmt: skip
SITE = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2",
        "hydra.launcher.check_shared=false"]  # fmt: skip


class Sweep:
    """A sweep over folders of photographs, of which the second is not there and the first has the most to read."""

    def __init__(self, folder: Path, large: Path, jobs: int, epochs: int) -> None:
        self.folder, self.missing = folder / "outputs" / "sweeps" / "try", folder / "data1"
        self.small = folder / "small"
        write_cohort(self.small, "aptos", 15, size=112, seed=0, workers=1, progress=False)
        roots = [folder / f"data{n}" for n in range(jobs)]
        for root in roots:
            if root != self.missing:
                root.symlink_to(large if root == roots[0] else self.small)
        self.places = [f"paths.outputs={folder / 'outputs'}", f"paths.cache={folder / 'cache'}"]
        self.words = [*TINY, f"trainer.max_epochs={epochs}", *self.places]
        self.roots = [str(root) for root in roots]

    def file(self, name: str) -> dict:
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else {}

    def states(self) -> list[str]:
        return [self.file(f"states/{n}.json").get("status", "") for n in range(len(self.roots))]

    def queue_id(self, number: int) -> str:
        return self.file("sweep.json")["submissions"][-1]["ids"][str(number)]

    def run(self, number: int) -> Path:
        return self.folder / self.file("sweep.json")["jobs"][number]["folder"]

    def weights(self, number: int) -> dict[str, torch.Tensor]:
        return torch.load(self.run(number) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self.folder.glob("slurm/*.out"))

    def wait(self, done: Callable[[], bool], seconds: float = 500) -> None:
        """Wait; a job that was put back in the queue is let in at once, where SLURM would wait for two minutes."""
        deadline, asked = time.monotonic() + seconds, 0.0
        while not done():
            assert time.monotonic() < deadline, (self.states(), self.logs())
            if self.states()[0] == "interrupted" and time.monotonic() - asked > 20:
                asked = time.monotonic()
                subprocess.run(
                    ["scontrol", "update", f"JobId={self.queue_id(0)}", "StartTime=now+3"], check=False, timeout=60
                )
            time.sleep(0.3)


@pytest.fixture
def cancelled(slurm_runs: None) -> Iterator[None]:
    yield
    subprocess.run(["scancel", "--full", "--name=train"], check=False, timeout=60)


@pytest.mark.slow  # three minutes on a busy machine
def test_one_job_fails_one_is_put_back_and_the_second_call_runs_what_failed(
    cancelled: None, synthetic_aptos: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep(tmp_path, synthetic_aptos, jobs=3, epochs=25)
    assert command("train", "-m", *sweep.words, *SITE, f"data.root={','.join(sweep.roots)}", "sweep=try") == 0
    assert "3 jobs were submitted" in capsys.readouterr().out
    sweep.wait(lambda: (sweep.run(0) / "metrics.csv").exists() and sweep.states()[0] == "running")
    # What SLURM does before the limit of a job, and before it gives its place to another one.
    subprocess.run(["scancel", "--signal=USR2", sweep.queue_id(0)], check=True, timeout=60)
    said, deadline = "", time.monotonic() + 120
    while "requeued" not in said:  # while the process ends, SLURM still calls the job running
        assert time.monotonic() < deadline, (said, sweep.logs())
        assert command("runs", "sweep=try", sweep.places[0]) == 0
        said = capsys.readouterr().out
    sweep.wait(lambda: sweep.states() == ["finished", "failed", "finished"])
    _check_end(sweep, command, capsys, synthetic_aptos, tmp_path)


@pytest.mark.slow
def test_six_jobs_with_a_limit_of_a_minute(
    cancelled: None, synthetic_aptos: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep(tmp_path, synthetic_aptos, jobs=6, epochs=250)
    limit = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=15"]
    assert command("train", "-m", *sweep.words, *SITE, *limit, f"data.root={','.join(sweep.roots)}", "sweep=try") == 0
    sweep.wait(lambda: sweep.states() == ["finished", "failed", *["finished"] * 4], seconds=900)
    _check_end(sweep, command, capsys, synthetic_aptos, tmp_path)


def _check_end(sweep: Sweep, command: Command, capsys: pytest.CaptureFixture[str], large: Path, folder: Path) -> None:
    """The report stands, nothing depends on the pause, and a second call begins the failed job alone."""
    sweep.wait(lambda: (sweep.folder / "report.html").exists())
    capsys.readouterr()
    assert command("runs", "sweep=try", sweep.places[0]) == 0
    said = capsys.readouterr().out
    assert (
        said.count("failed") == 2 and f"{sweep.missing} of aptos does not exist" in said
    )  # in the table, and with its reason
    assert sweep.file("states/0.json")["starts"] >= 2
    assert sweep.file(f"{sweep.run(0).name}/run.json")["resumed"] == sweep.file("states/0.json")["starts"] - 1
    whole = folder / "whole"
    assert command("train", *sweep.words, f"data.root={sweep.roots[0]}", f"run_dir={whole}") == 0
    expected = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(expected[key], tensor) for key, tensor in sweep.weights(0).items())

    before = [(sweep.run(n) / "run.json").stat().st_mtime_ns for n in range(len(sweep.roots)) if n != 1]
    (sweep.folder / "report.html").unlink()
    sweep.missing.symlink_to(sweep.small)
    assert command("train", "-m", "sweep=try", *SITE, sweep.places[0]) == 0
    assert "1 job was submitted" in capsys.readouterr().out
    sweep.wait(lambda: set(sweep.states()) == {"finished"} and (sweep.folder / "report.html").exists())
    assert [(sweep.run(n) / "run.json").stat().st_mtime_ns for n in range(len(sweep.roots)) if n != 1] == before
    assert [len(submission["ids"]) for submission in sweep.file("sweep.json")["submissions"]] == [len(sweep.roots), 1]
    assert all(torch.equal(sweep.weights(1)[key], tensor) for key, tensor in sweep.weights(2).items())


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("hydra.launcher.partition=nowhere", ["invalid partition", "hydra.launcher.partition=nowhere", "has: all"]),
        ("hydra.launcher.constraint=moon", ["Invalid feature", "hydra.launcher.constraint=moon"]),
    ],
)
def test_what_slurm_refuses_is_told_in_its_words_and_ours(
    slurm_runs: None, synthetic_aptos: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str],
    word: str, told: list[str],
) -> None:  # fmt: skip
    places = [f"paths.outputs={tmp_path / 'outputs'}", f"paths.cache={tmp_path / 'cache'}"]
    words = [*TINY, *places, *SITE, word, f"data.root={synthetic_aptos}", "seed=1,2", "sweep=try"]
    assert command("train", "-m", *words) == 2
    said = capsys.readouterr().err
    assert not (tmp_path / "outputs" / "sweeps" / "try").exists()
    assert "Traceback" not in said and all(text in said for text in told), said
