"""The SLURM scripts of LLaVA's phases: what they submit and run, and both through a real SLURM where one runs."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_network import SMALL_NETWORK

from retinai.config.checks import check
from retinai.config.compose import compose

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = ("slurm/llava_idrid.sbatch", "slurm/llava_aptos.sbatch")
SITE = ("PARTITION", "ACCOUNT", "QOS", "GPUS", "TASKS", "CPUS", "MEM", "TIME_LIMIT", "DRY_RUN")
TINY = (
    "backbone=llava_tiny",
    "trainer=cpu",
    "data.limit=5",
    "data.num_workers=0",
    "logger=none",
    "model.findings=false",
)


def run_bash(*words: str, timeout: float = 60, **variables: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script in the root of the checkout, as users do, without settings of a site."""
    kept = {k: v for k, v in os.environ.items() if k not in SITE and not k.startswith("SLURM_JOB")}
    return subprocess.run(
        ["bash", *words],
        cwd=REPOSITORY,
        env={**kept, **{k: str(v) for k, v in variables.items()}},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def bash(*words: str, **variables: str | Path) -> str:
    """Return what a script prints that ends well."""
    done = run_bash(*words, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def said(*words: str, **variables: str | Path) -> tuple[list[str], list[str]]:
    """Return the words of the `sbatch` and of the `srun retinai train` command that a script would run."""
    submitted, trained = bash(*words, DRY_RUN="1", **variables).splitlines()
    return shlex.split(submitted), shlex.split(trained)


@pytest.mark.parametrize("script", sorted(p.name for p in (REPOSITORY / "slurm").iterdir() if p.suffix != ".md"))
def test_scripts_are_valid_bash(script: str) -> None:
    bash("-n", f"slurm/{script}")


@pytest.mark.parametrize(
    ("script", "data", "phase"), [(SCRIPTS[0], "idrid", "warmup"), (SCRIPTS[1], "aptos", "finetune")]
)
def test_a_phase_trains_what_it_is_named_after(script: str, data: str, phase: str, tmp_path: Path) -> None:
    _, command = said(script, f"data.root={tmp_path / 'my data'}", *TINY, RETINAI_OUTPUTS=tmp_path)
    assert command[:3] == ["srun", "retinai", "train"]
    cfg = compose("train", command[3:])
    check("train", cfg)
    assert (cfg.data.name, cfg.model.name, cfg.backbone.name) == (data, "llava", "llava_tiny")
    assert cfg.phase == phase
    assert cfg.trainer.accelerator == "cpu"  # words of the user come last and win
    assert cfg.data.root == str(tmp_path / "my data")
    assert cfg.run_dir == f"{tmp_path}/slurm/JOB"


def test_the_site_decides_where_jobs_run() -> None:
    submitted, trained = said(SCRIPTS[0], PARTITION="gpu", ACCOUNT="eye", QOS="eye-high", CPUS="4")
    asked = "--partition=gpu --account=eye --qos=eye-high --gpus=a100:1 --ntasks-per-node=1 --cpus-per-task=4"
    assert {*asked.split()} <= {*submitted}
    assert submitted[-1] == SCRIPTS[0]
    assert "trainer=gpu" in trained
    submitted, _ = said(SCRIPTS[0], GPUS="")
    for option in ("--partition", "--account", "--qos", "--gpus"):
        assert not any(word.startswith(option) for word in submitted), option


def test_phase_two_starts_from_the_job_it_is_told(tmp_path: Path) -> None:
    submitted, trained = said(SCRIPTS[1], "4711", "seed=1", RETINAI_OUTPUTS=tmp_path)
    assert {"--dependency=afterok:4711", "--kill-on-invalid-dep=yes"} <= {*submitted}
    assert submitted[-3:] == [SCRIPTS[1], "4711", "seed=1"]
    assert compose("train", trained[3:]).init.path == f"{tmp_path}/slurm/4711/checkpoints/best.ckpt"

    folder = tmp_path / "slurm" / "4711"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"status": "finished"}, indent=2))
    submitted, trained = said(SCRIPTS[1], "4711", RETINAI_OUTPUTS=tmp_path)
    assert not any("depend" in word for word in submitted)  # SLURM forgets jobs soon after their end
    assert f"init.path={folder}/checkpoints/best.ckpt" in trained

    submitted, trained = said(SCRIPTS[1], "seed=1", RETINAI_OUTPUTS=tmp_path)
    assert not any("depend" in word for word in submitted)
    assert compose("train", trained[3:]).init.path is None  # the newest finished run


@pytest.fixture
def site(slurm_runs: None, tmp_path: Path) -> dict[str, str]:
    """Variables for jobs on this machine's CPU, which keep everything below `tmp_path`."""
    return {
        "GPUS": "",
        "CPUS": "1",
        "MEM": "4gb",
        "TIME_LIMIT": "00:20:00",
        "RETINAI_OUTPUTS": str(tmp_path / "outputs"),
        "SBATCH_OUTPUT": str(tmp_path / "%x-%j.log"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def test_both_phases_run_through_slurm(
    site: dict[str, str], synthetic_idrid: Path, synthetic_aptos: Path, tmp_path: Path
) -> None:
    first = bash(SCRIPTS[0], *TINY, f"data.root={synthetic_idrid}", **site).strip()
    # SBATCH_WAIT: sbatch ends when the job ends, with its exit code.
    words = (SCRIPTS[1], first, *TINY, f"data.root={synthetic_aptos}", "trainer.max_epochs=1")
    done = run_bash(*words, SBATCH_WAIT="1", timeout=600, **site)
    logs = {path.name: path.read_text() for path in tmp_path.glob("*.log")}
    assert done.returncode == 0, (done.stderr, logs)
    runs = tmp_path / "outputs" / "slurm"
    for job, data in ((first, "idrid"), (done.stdout.strip(), "aptos")):
        record = json.loads((runs / job / "run.json").read_text())
        assert (record["status"], record["data"], record["model"]) == ("finished", data, "llava")
        assert (runs / job / "report.html").exists()
    start = f"{runs / first}/checkpoints/best.ckpt"
    assert start in next(log for name, log in logs.items() if name.startswith("llava_aptos"))


def test_phase_two_does_not_run_after_a_failure(site: dict[str, str], synthetic_aptos: Path, tmp_path: Path) -> None:
    first = bash(SCRIPTS[0], *TINY, f"data.root={tmp_path / 'nowhere'}", **site).strip()
    done = run_bash(SCRIPTS[1], first, *TINY, f"data.root={synthetic_aptos}", SBATCH_WAIT="1", timeout=600, **site)
    job = done.stdout.strip()
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, timeout=60, check=True)
    assert "JobState=CANCELLED" in shown.stdout and "DependencyNeverSatisfied" in shown.stdout
    assert "nowhere" in (tmp_path / f"llava_idrid-{first}.log").read_text()
    assert not list(tmp_path.glob("llava_aptos-*.log"))


LIMITED = [
    "data=aptos", "data.num_workers=0", "data.batch_size=4", *SMALL_NETWORK,
    "backbone.input_size=24", "trainer=cpu", "logger=none", "test=false",
    "calibrate=false", "trainer.max_epochs=100000", "callbacks.early_stopping=null",
]  # fmt: skip


class Job:
    """A job of `slurm/train.sbatch` whose training would take days; cancelled at the end."""

    def __init__(self, site: dict[str, str], folder: Path, *words: str, **options: str) -> None:
        asked = {
            "gres": "none",
            "gpus": "0",
            "cpus-per-task": "1",
            "mem": "4gb",
            "output": f"{folder}/%j.log",
            **options,
        }
        command = ["sbatch", "--parsable", *(f"--{key}={value}" for key, value in asked.items()), "slurm/train.sbatch"]
        self.number = bash(
            "-c", shlex.join([*command, *LIMITED, *words, f"paths.cache={folder / 'cache'}"]), **site
        ).strip()
        self.run, self.log = Path(site["RETINAI_OUTPUTS"]) / "slurm" / self.number, folder / f"{self.number}.log"
        self.asked = -math.inf  # when its start was asked for last

    def control(self, *words: str) -> str:
        done = subprocess.run(["scontrol", *words], capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    def wait(self, what: str, seconds: float = 600, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until the log holds a text; the time is that of a machine with much else to do."""
        deadline = time.monotonic() + seconds
        # The log may end within a character while it is being written.
        while not (self.log.exists() and what in self.log.read_text(errors="replace")):
            assert time.monotonic() < deadline, (
                what,
                self.log.exists() and self.log.read_text(errors="replace"),
                self.control("show", "job", self.number),
            )
            meanwhile()
            time.sleep(0.2)

    def start_now(self) -> None:
        """Let the job start in three seconds where it is in the queue: SLURM would wait for two minutes.

        In the very second of its requeue slurmd refuses it ("Job credential revoked").
        """
        shown = self.control("show", "job", self.number)
        assert "JobState=FAILED" not in shown, shown
        if "JobState=PENDING" in shown and time.monotonic() - self.asked > 20:
            self.asked = time.monotonic()
            self.control("update", f"JobId={self.number}", "StartTime=now+3")

    def goes_on(self) -> None:
        """See the job come back from the queue and train another epoch."""
        self.wait("the job is put back in the queue")
        epochs = self.epochs()
        self.wait(f"resume: going on from {self.run}", meanwhile=self.start_now)
        self.wait(f"epoch {epochs + 1:>6}/100000")

    def epochs(self) -> int:
        return (self.run / "metrics.csv").read_text().count("\n") - 1


@pytest.fixture
def submitted(site: dict[str, str], synthetic_aptos: Path, tmp_path: Path) -> Iterator[Callable[..., Job]]:
    jobs: list[Job] = []

    def submit(**options: str) -> Job:
        jobs.append(Job(site, tmp_path, f"data.root={synthetic_aptos}", **options))
        return jobs[-1]

    yield submit
    for job in jobs:
        subprocess.run(["scancel", "--full", job.number], check=False, timeout=60)


def test_a_job_that_is_told_of_its_time_limit_requeues_itself_and_goes_on(submitted: Callable[..., Job]) -> None:
    job = submitted(time="20")
    job.wait("epoch      2/")  # the line of an epoch comes before its checkpoint, which is there by the next one
    # What `--signal=B:USR1@120` does two minutes before the limit.
    subprocess.run(["scancel", "--signal=USR1", "--batch", job.number], check=True, timeout=60)
    job.goes_on()
    record = json.loads((job.run / "run.json").read_text())
    assert (record["status"], record["resumed"]) == ("running", 1)


@pytest.mark.slow
def test_a_job_whose_place_another_takes_goes_on(submitted: Callable[..., Job], tmp_path: Path) -> None:
    job = submitted()
    job.wait("epoch      2/")
    other = ["sbatch", "--partition=urgent", "--exclusive", f"--output={tmp_path / 'other.log'}", "--wrap", "sleep 1"]
    subprocess.run(other, check=True, timeout=60, capture_output=True)
    job.goes_on()


@pytest.mark.slow
def test_a_job_with_a_limit_of_a_minute_goes_on_by_itself(submitted: Callable[..., Job]) -> None:
    job = submitted(time="1", signal="B:USR1@5")
    job.wait("time limit: stopping the training")
    job.goes_on()


# Stands for the training: ends when it is told to, like it.
_TRAINING = "trap 'exit 143' TERM; touch {begun}; while true; do sleep 0.05; done"


@pytest.mark.parametrize(
    ("restarts", "epoch", "finished", "code", "said"),
    [
        (0, False, False, 143, "back in the queue"),  # the first start may have read photographs all the time
        (1, True, False, 143, "back in the queue"),
        (1, False, False, 1, "no epoch was finished within the time limit"),
        (1, True, True, 143, "stopping the training"),
    ],
)
def test_a_job_is_put_back_only_while_it_gets_on(
    tmp_path: Path, restarts: int, epoch: bool, finished: bool, code: int, said: str
) -> None:
    """The decision alone; `scontrol` writes down what it was asked, and ends the shell as SLURM does."""
    begun, asked, run = tmp_path / "begun", tmp_path / "asked", tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    script = f"""set -euo pipefail
        source slurm/until_limit.sh
        scancel() {{ kill -TERM "$step"; }}
        scontrol() {{ echo "$*" >> {asked}; kill -TERM $$; }}
        (while [[ ! -e {begun} ]]; do sleep 0.05; done
        {"touch " + str(run / "checkpoints" / "last.ckpt") if epoch else ":"}
        {"echo '  " + '"status": "finished"' + "' > " + str(run / "run.json") if finished else ":"}
        kill -USR1 $$) &
        run_until_limit {run} bash -c {shlex.quote(_TRAINING.format(begun=begun))}"""
    done = run_bash("-c", script, SLURM_RESTART_COUNT=str(restarts), SLURM_JOB_ID="7")
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert asked.exists() == ("back in the queue" in said)
    assert not asked.exists() or asked.read_text() == "requeue 7\n"


@pytest.mark.parametrize(
    ("taken", "code", "put_back"),
    [
        ("2026-01-31T12:05:00", 143, True),
        ("2026-01-31T11:00:00", 1, False),  # in an earlier start; what failed now is the training
        ("None", 143, False),  # cancelled
        ("2026-01-31T12:05:00", 0, False),  # it had ended just then
    ],
)
def test_a_job_is_put_back_when_another_took_its_place(tmp_path: Path, taken: str, code: int, put_back: bool) -> None:
    """The decision alone; `scontrol` tells what SLURM would, and writes down what it was asked."""
    asked = tmp_path / "asked"
    script = f"""source slurm/until_limit.sh
        scontrol() {{
          if [[ $1 == show ]]; then
            printf '   StartTime=2026-01-31T12:00:00 EndTime=2026-01-31T13:00:00\\n'
            printf '   PreemptEligibleTime=2026-01-31T12:00:00 PreemptTime={taken}\\n'
          else echo "$*" >> {asked}; fi
        }}
        run_until_limit {tmp_path} bash -c 'exit {code}'"""
    done = run_bash("-c", script, SLURM_JOB_ID="7")
    assert done.returncode == code, done.stderr
    assert asked.exists() == put_back and ("another job takes this place" in done.stdout) == put_back
