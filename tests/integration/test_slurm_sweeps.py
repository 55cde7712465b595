"""Sweeps through a real SLURM: an array of three jobs, one that fails, one that is put back, what is told of both."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from watched_sweep import SITE, TINY, WatchedSweep

from retinai.synthetic.cohort import write_cohort

Command = Callable[..., int]


class Sweep(WatchedSweep):
    """A sweep over folders of photographs, of which the second is not there and the first has the most to read."""

    def __init__(self, folder: Path, large: Path) -> None:
        super().__init__(folder, jobs=3)
        self.missing, self.small = folder / "data1", folder / "small"
        write_cohort(self.small, "aptos", 15, size=112, seed=0, workers=1, progress=False)
        roots = [folder / f"data{n}" for n in range(self.jobs)]
        for root in roots:
            if root != self.missing:
                root.symlink_to(large if root == roots[0] else self.small)
        self.words = [*TINY, "trainer.max_epochs=25", *self.places]
        self.roots = [str(root) for root in roots]


@pytest.fixture
def cancelled(slurm_runs: None) -> Iterator[None]:
    yield
    subprocess.run(["scancel", "--full", "--name=try"], check=False, timeout=60)


@pytest.mark.slow  # three minutes on a busy machine
def test_one_job_fails_one_is_put_back_and_the_second_call_runs_what_failed(
    cancelled: None, synthetic_aptos: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep(tmp_path, synthetic_aptos)
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
