"""A study whose trials SLURM runs, two at a time: the search waits for them, and goes on with more."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watched_sweep import SITE, TINY, WatchedSweep

from retinai.sweeps.record import read_sweep
from retinai.sweeps.study import open_study

Command = Callable[..., int]
STUDY = ["hydra/sweeper=optuna", "study=try", "hydra.sweeper.n_jobs=2", "hydra.sweeper.objectives=[score,latency_ms]"]


@pytest.fixture
def cancelled(slurm_runs: None) -> Iterator[None]:
    yield
    subprocess.run(["scancel", "--full", "--name=try"], check=False, timeout=60)


@pytest.mark.slow  # two minutes on two cores
def test_trials_of_two_objectives_run_on_slurm_and_the_study_goes_on(
    cancelled: None, synthetic_aptos: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = WatchedSweep(tmp_path, jobs=4)
    words = [*TINY, f"data.root={synthetic_aptos}", "data.limit=12", "trainer.max_epochs=1", *watched.places]
    space = ["optimizer.lr=tag(log, interval(1e-4, 1e-2))", "backbone.input_size=choice(24,64)"]
    assert command("train", "-m", *words, *space, *STUDY, *SITE, "hydra.sweeper.n_trials=2") == 0
    assert command("train", "-m", *STUDY, *SITE, watched.places[0], "hydra.sweeper.n_trials=4") == 0
    record, trials = read_sweep(watched.folder), open_study(watched.folder).trials
    assert [len(submission.ids) for submission in record.submissions] == [2, 2]
    assert watched.states() == ["finished"] * 4 and all(trial.state.name == "COMPLETE" for trial in trials)
    assert all(trial.values == watched.file(f"states/{trial.number}.json")["values"] for trial in trials)
    assert min(trial.values[1] for trial in trials) > 0
    assert "4 of 4 finished" in (watched.folder / "report.html").read_text()
    assert "study" in capsys.readouterr().out
