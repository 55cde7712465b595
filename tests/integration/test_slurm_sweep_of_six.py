"""Six jobs through a real SLURM with a limit of a minute: one is preempted, one fails, and the second call mends it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from watched_sweep import SITE, TINY, WatchedSweep

Command = Callable[..., int]
LIMIT = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=5"]
# A loss that orders the grades and one that does not; each with few epochs twice, and with more than a minute holds.
GRID = ["loss=corn,cross_entropy", "test=true"]
SHORT, LONG_SECONDS = (4, 5), 50  # epochs; seconds of training, beside those in which Python starts
FAILS, PREEMPTED, LIMITED = 0, 2, 5


class Six(WatchedSweep):
    """Six jobs, of which one finds a file in the place of its run folder."""

    def __init__(self, folder: Path, data: Path, epochs: int) -> None:
        super().__init__(folder, jobs=6)
        lengths = ",".join(map(str, (*SHORT, epochs)))
        self.words = [*TINY, *GRID, f"trainer.max_epochs={lengths}", f"data.root={data}", *self.places]
        self.seen = folder / "seen.txt"

    def logged(self, number: int) -> str:
        """What a job logged so far."""
        return (self.folder / "slurm" / f"{self.queue_id(number)}_0_log.out").read_text(errors="replace")

    def preempt(self) -> None:
        """Let a job of a partition that goes first have the whole machine, and note what it sees in the queue."""
        look = (
            f"squeue --noheader --array --format='%i %T' > {self.seen}.part; mv {self.seen}.part {self.seen}; sleep 2"
        )
        words = ["--partition=urgent", "--exclusive", "--job-name=try", f"--output={self.seen}.log", "--wrap", look]
        subprocess.run(["sbatch", *words], check=True, timeout=60, capture_output=True)

    def block(self) -> Path:
        """Put a file where the folder of the job that fails would be."""
        self.folder.mkdir(parents=True)
        blocked = self.folder / f"{FAILS}_corn-max_epochs{SHORT[0]}"
        blocked.write_text("in the way")
        return blocked


@pytest.fixture
def cancelled(slurm_runs: None) -> Iterator[None]:
    yield
    subprocess.run(["scancel", "--full", "--name=try"], check=False, timeout=60)


def long_enough(data: Path, folder: Path, command: Command) -> int:
    """Return how many epochs take LONG_SECONDS on this machine as it is now."""
    words = [*TINY, f"data.root={data}", f"run_dir={folder / 'measured'}", f"paths.cache={folder / 'cache'}"]
    assert command("train", *words, "trainer.max_epochs=8") == 0
    epochs = pd.read_csv(folder / "measured" / "metrics.csv")["seconds"]
    return max(20, round(LONG_SECONDS / max(float(epochs.median()), 0.01)))


@pytest.mark.slow  # ten minutes on two busy cores
def test_six_jobs_with_a_limit_of_a_minute(
    cancelled: None, synthetic_aptos: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Six(tmp_path, synthetic_aptos, long_enough(synthetic_aptos, tmp_path, command))
    blocked = sweep.block()
    assert command("train", "-m", *sweep.words, *SITE, *LIMIT, "sweep=try") == 0
    assert "6 jobs were submitted" in capsys.readouterr().out
    assert sweep.run(FAILS) == blocked
    sweep.wait(lambda: (sweep.run(PREEMPTED) / "metrics.csv").exists())
    sweep.preempt()
    sweep.wait(sweep.seen.exists)
    queue = dict(line.split() for line in sweep.seen.read_text().splitlines())
    assert queue[sweep.queue_id(PREEMPTED)] in ("PENDING", "COMPLETING")
    assert "until SLURM ends the job" in sweep.logged(PREEMPTED)
    assert command("runs", "sweep=try", sweep.places[0]) == 0
    assert "requeued" in capsys.readouterr().out
    ended = ["failed" if number == FAILS else "finished" for number in range(sweep.jobs)]
    sweep.wait(lambda: sweep.states() == ended, seconds=700)
    assert "Job has timed out" in sweep.logged(LIMITED) and "Requeued job" in sweep.logged(LIMITED)
    sweep.wait((sweep.folder / "report.html").exists)
    page = (sweep.folder / "report.html").read_text()
    assert "5 of 6 finished" in page and "kappa" in page.lower()
    capsys.readouterr()
    assert command("runs", "sweep=try", sweep.places[0]) == 0
    said = capsys.readouterr().out
    assert said.count("failed") == 2 and str(blocked) in said, said  # in the table, and with its reason

    _check_dashboard(sweep, tmp_path / "page", command)
    before = _written(sweep)
    blocked.unlink()
    (sweep.folder / "report.html").unlink()
    assert command("train", "-m", "sweep=try", *SITE, sweep.places[0]) == 0
    assert "1 job was submitted" in capsys.readouterr().out
    sweep.wait(lambda: set(sweep.states()) == {"finished"} and (sweep.folder / "report.html").exists())
    assert _written(sweep) == before and "6 of 6 finished" in (sweep.folder / "report.html").read_text()
    _check_weights(sweep, tmp_path, command)


def _check_dashboard(sweep: Six, page: Path, command: Command) -> None:
    """All six jobs are on the page, the failed one with its reason, and W&B's own library takes the workspace."""
    assert command("dashboard", sweep.folder, f"out={page}", "title=Six jobs with a limit of a minute") == 0
    text = (page / "dashboard.html").read_text()
    data = json.loads(text.split('<script id="data" type="application/json">')[1].split("</script>")[0])
    states = {run["name"]: run["status"] for run in data["runs"]}
    assert sorted(states.values()) == ["failed", *["finished"] * 5] and states[sweep.run(FAILS).name] == "failed"
    assert all(run["metrics"]["qwk"][0] is not None for run in data["runs"] if run["status"] == "finished")
    assert set(data["varying"]) == {"loss", "trainer.max_epochs"} and "is a file" in text
    workspace = json.loads((page / "wandb_workspace.json").read_text())
    assert workspace["displayName"] == "Six jobs with a limit of a minute"
    from wandb_workspaces.workspaces.internal import WorkspaceViewspec

    sections = WorkspaceViewspec.model_validate(workspace["spec"]).section.panel_bank_config.sections
    assert {"Curves", "Test"} <= {section.name for section in sections}


def _written(sweep: Six) -> dict[str, int]:
    """Return when the record of each run was written last but that of the job that fails."""
    others = [sweep.run(number) for number in range(sweep.jobs) if number != FAILS]
    return {run.name: (run / "run.json").stat().st_mtime_ns for run in others}


def _check_weights(sweep: Six, folder: Path, command: Command) -> None:
    """All six have the weights of a run in one piece: the preempted job, those that met the limit, and the others."""
    resumed = [json.loads((sweep.run(n) / "run.json").read_text())["resumed"] for n in range(sweep.jobs)]
    assert resumed[PREEMPTED] >= 1 and resumed[LIMITED] >= 1, resumed
    for number in range(sweep.jobs):
        whole = folder / f"whole{number}"
        own = sweep.file("sweep.json")["jobs"][number]["overrides"]
        assert command("train", *own, f"run_dir={whole}") == 0
        expected = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        found = sweep.weights(number)
        assert expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)
