"""The SLURM scripts of LLaVA's phases: what they submit and run, and both through a real SLURM where one runs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def slurm_runs() -> None:
    """Skip where no SLURM of this machine alone runs."""
    if shutil.which("sbatch") is None or shutil.which("scontrol") is None:
        pytest.skip("SLURM is not installed (sbatch, scontrol)")
    ping = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=60, check=False)
    if " is UP" not in ping.stdout:
        pytest.skip("SLURM is installed, but its controller does not answer (scontrol ping)")
    nodes = subprocess.run(["sinfo", "-h", "-N", "-o", "%N"], capture_output=True, text=True, timeout=60, check=True)
    if set(nodes.stdout.split()) != {socket.gethostname().partition(".")[0]}:
        pytest.skip("SLURM has other nodes than this machine, which may not see the folders of a test")


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
