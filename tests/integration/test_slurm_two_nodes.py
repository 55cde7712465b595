"""One run over two nodes of a real SLURM, by `srun` of a sweep's job and of a plain sbatch script."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from watched_sweep import SITE, TINY, WatchedSweep

Command = Callable[..., int]
DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_epochs=2", "test=true"]
TWO_NODES = ["trainer.num_nodes=2", "trainer.devices=1"]
# Nobody resolves the names of nodes that are faked.
HERE = "export MASTER_ADDR=localhost"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def cancelled(slurm_of_two_nodes: None) -> Iterator[None]:
    yield
    subprocess.run(["scancel", "--full", "--name=try"], check=False, timeout=60)


@pytest.fixture(scope="module")
def of_one_node(
    synthetic_aptos: Path,
    tmp_path_factory: pytest.TempPathFactory,
    run_cli: Callable[..., subprocess.CompletedProcess[str]],
) -> dict[str, torch.Tensor]:
    """The weights of two processes of one machine, without SLURM."""
    folder = tmp_path_factory.mktemp("one_node")
    words = [*TINY, *DDP, "trainer.devices=2", f"data.root={synthetic_aptos}", f"paths.cache={folder / 'cache'}"]
    done = run_cli("train", *words, f"run_dir={folder / 'run'}", cwd=folder, timeout=600)
    assert done.returncode == 0, done.stderr
    return weights(folder / "run")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def check_run(run: Path, expected: dict[str, torch.Tensor]) -> None:
    """One run stands there, and learned what two processes of one machine learn."""
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished" and (run / "metrics.json").exists() and (run / "report.html").exists()
    found = weights(run)
    assert expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.slow  # two minutes on two cores
def test_a_job_of_a_sweep_has_two_nodes(
    cancelled: None, of_one_node: dict[str, torch.Tensor], synthetic_aptos: Path, tmp_path: Path, command: Command
) -> None:
    sweep = WatchedSweep(tmp_path, jobs=1)
    asked = ["hydra.launcher.nodes=2", f"hydra.launcher.setup=['{HERE}']"]
    words = [*TINY, *DDP, *TWO_NODES, f"data.root={synthetic_aptos}", *sweep.places, *SITE, *asked]
    assert command("train", "-m", *words, "sweep=try") == 0
    sweep.wait(lambda: sweep.states()[0] in ("finished", "failed"))
    logs = {path.name: path.read_text(errors="replace") for path in sweep.folder.glob("slurm/*_log.out")}
    assert sweep.states() == ["finished"], logs
    # submitit says of each process on which node it runs.
    nodes = [re.findall(r"local_rank=0\(1\), node=(\d)\(2\), global_rank=(\d)\(2\)", log) for log in logs.values()]
    assert sorted(found for log in nodes for found in log) == [("0", "0"), ("1", "1")], logs
    assert sum(log.count("epoch 1/2") for log in logs.values()) == 1  # told once, though two processes ran it
    sweep.wait((sweep.folder / "report.html").exists)
    assert "1 of 1 finished" in (sweep.folder / "report.html").read_text()
    check_run(sweep.run(0), of_one_node)


@pytest.mark.slow  # a minute on two cores
def test_a_plain_sbatch_script_has_two_nodes(
    cancelled: None, of_one_node: dict[str, torch.Tensor], synthetic_aptos: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    options = ["--job-name=try", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--mem=2gb", "--gpus=0",
               "--gres=none", "--time=10", "--wait", f"--output={log}"]  # fmt: skip
    words = [*TINY, *DDP, *TWO_NODES, f"data.root={synthetic_aptos}", f"paths.cache={tmp_path / 'cache'}"]
    site = {
        "RETINAI_OUTPUTS": str(tmp_path / "outputs"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MASTER_ADDR": "localhost",
    }
    submit = ["sbatch", "--parsable", *options, "slurm/train.sbatch", *words]
    done = subprocess.run(
        submit, cwd=REPOSITORY, env={**os.environ, **site}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, (done.stderr, log.exists() and log.read_text())
    check_run(tmp_path / "outputs" / "slurm" / done.stdout.strip(), of_one_node)
