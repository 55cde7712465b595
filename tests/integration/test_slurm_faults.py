"""What keeps a sweep out of SLURM's queue, told before anything is submitted; none of it needs a SLURM."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf

from hydra_plugins.retinai_sweeps import SlurmLauncher
from retinai.config.paths import conf_dir
from retinai.errors import UserError
from retinai.sweeps.job import SweptJob
from retinai.sweeps.naming import folder_names
from retinai.sweeps.record import SweepJob, SweepRecord, write_sweep
from retinai.sweeps.slurm import OWN_KEYS, check_progress, check_shared, kind_of_disk
from retinai.sweeps.states import begin_state, read_state

WORDS = ["data=aptos", "trainer=cpu", "logger=none", "seed=1,2", "sweep=try"]


@pytest.mark.parametrize(
    ("launcher", "programs", "told"),
    [
        ("slurm", [], "sbatch is not on this machine"),
        ("hipergator", ["sbatch", "srun"], "export RETINAI_SLURM_ACCOUNT=GROUP"),
    ],
)
def test_what_is_missing_is_told(
    launcher: str, programs: list[str], told: str, tmp_path: Path, command: Callable[..., int],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Programs that do nothing stand for a cluster; none of them is reached."""
    for name in programs:
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RETINAI_SLURM_ACCOUNT", raising=False)
    words = [*WORDS, f"data.root={tmp_path}", f"paths.outputs={tmp_path / 'outputs'}", f"hydra/launcher={launcher}"]
    assert command("train", "-m", *words) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [("RETINAI_SLURM_CPUS", "foo", "cpus_per_task=foo"), ("RETINAI_SLURM_MINUTES", "-5", "timeout_min=-5")],
)
def test_a_number_of_the_environment_that_is_none_is_told(
    variable: str, value: str, key: str, tmp_path: Path, command: Callable[..., int],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(variable, value)
    words = [*WORDS, f"data.root={tmp_path}", f"paths.outputs={tmp_path / 'outputs'}", "hydra/launcher=slurm"]
    assert command("train", "-m", *words) == 2
    said = capsys.readouterr().err
    assert f"hydra.launcher.{key} has to be a number from 1" in said and variable in said, said
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "words",
    [["seed=1,2", "sweep=try"],
     ["optimizer.lr=interval(1e-4,1e-2)", "study=try", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2"]],
    ids=["sweep", "study"],
)  # fmt: skip
def test_what_slurm_refuses_leaves_nothing_behind(
    words: list[str], tmp_path: Path, synthetic_aptos: Path, command: Callable[..., int],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A program that refuses as SLURM does stands for a cluster."""
    for name, script in {
        "sbatch": "echo 'sbatch: error: invalid partition specified: p9' >&2; exit 1",
        "srun": "",
    }.items():
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    monkeypatch.setenv("RETINAI_SLURM_PARTITION", "p9")
    words = ["data=aptos", f"data.root={synthetic_aptos}", "trainer=cpu", "logger=none", *words]
    words += [f"paths.outputs={tmp_path / 'new' / 'outputs'}", "hydra/launcher=slurm"]
    words += ["hydra.launcher.check_shared=false"]
    assert command("train", "-m", *words) == 2
    assert "invalid partition specified: p9; check hydra.launcher.partition=p9" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


MOUNTS = """overlay / overlay rw 0 0
nfs:/blue /blue nfs4 rw 0 0
tmpfs /blue/my\\040scratch tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind", "refused"),
    [("/home/x/outputs", "overlay", True), ("/blue/x/outputs", "nfs4", False), ("/blue/my scratch/x", "tmpfs", True)],
)
def test_a_disk_of_this_machine_alone_is_refused_where_jobs_run_elsewhere(
    folder: str, kind: str, refused: bool, tmp_path: Path
) -> None:
    table = tmp_path / "mounts"
    table.write_text(MOUNTS)
    assert kind_of_disk(Path(folder), table) == kind
    check_shared(Path(folder), kind, set())  # the only node is this machine
    if refused:
        with pytest.raises(UserError, match=r"which the nodes of the cluster, such as c1, do not see"):
            check_shared(Path(folder), kind, {"c2", "c1"})
    else:
        check_shared(Path(folder), kind, {"c2", "c1"})


def test_a_job_that_comes_no_further_is_not_put_back(tmp_path: Path) -> None:
    begin_state(tmp_path, 0)
    check_progress(tmp_path, tmp_path / "run", 0, None)  # the first start may have read photographs all the time
    begin_state(tmp_path, 0)
    with pytest.raises(UserError, match="no epoch was finished within the time limit"):
        check_progress(tmp_path, tmp_path / "run", 0, None)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    check_progress(tmp_path, tmp_path / "run", 0, None)


def test_a_job_that_is_given_up_while_it_reads_a_file_says_why(tmp_path: Path) -> None:
    """The signal comes anywhere; an error there would be told as a damaged file."""
    job = SweepJob(number=0, folder="0", overrides=["seed=1"])
    write_sweep(tmp_path, SweepRecord(name="try", created="now", words=["seed=1"], jobs=[job]))
    launcher = SlurmLauncher.__new__(SlurmLauncher)

    def reads(cfg: Any) -> None:
        begin_state(tmp_path, 0)  # a second start, in which no epoch was finished
        former = signal.signal(signal.SIGUSR2, lambda *_: launcher.checkpoint([f"run_dir={tmp_path / '0'}"]))
        try:
            signal.raise_signal(signal.SIGUSR2)
        except Exception as error:
            raise UserError("last.ckpt is truncated or damaged") from error
        finally:
            signal.signal(signal.SIGUSR2, former)

    launcher.task_function, launcher.began_with = SweptJob(reads, tmp_path), None
    with pytest.raises(SystemExit) as left:
        launcher.task_function(OmegaConf.create({"run_dir": str(tmp_path / "0")}))
    state = read_state(tmp_path, 0)
    assert left.value.code == 2 and state["status"] == "failed"
    assert state["reason"].startswith("no epoch was finished within the time limit")


@pytest.mark.parametrize(
    ("jobs", "names"),
    [
        ([["loss=focal", "seed=1"], ["loss=focal", "seed=2"]], ["0_seed1", "1_seed2"]),
        ([["data.root=/a/b one", "+init=ckpt"], ["data.root=/c/", "+init=ckpt"]], ["0_rootb_one", "1_rootc"]),
        ([["backbone=vit_small", "optimizer.lr=1e-4"], ["backbone=swin_tiny", "optimizer.lr=1e-4"]],
         ["0_vit_small", "1_swin_tiny"]),
        ([["seed=1"]], ["0"]),
    ],
)  # fmt: skip
def test_run_folders_are_named_after_what_is_swept(jobs: list[list[str]], names: list[str]) -> None:
    assert folder_names(jobs) == names


@pytest.mark.parametrize("launcher", ["slurm", "hipergator"])
def test_the_launchers_ask_for_what_submitit_knows_and_the_environment_says(
    launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from submitit.slurm.slurm import SlurmExecutor

    site = {"PARTITION": "p1", "ACCOUNT": "eye", "GRES": "gpu:l4:2", "CPUS": "3", "MEM_GB": "7", "MINUTES": "90"}
    for key, value in site.items():
        monkeypatch.setenv(f"RETINAI_SLURM_{key}", value)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", [f"hydra/launcher={launcher}", "+hydra.job.name=train"], return_hydra_config=True)
    asked = dict(OmegaConf.to_container(cfg.hydra.launcher, resolve=True))
    assert asked.pop("_target_") == "hydra_plugins.retinai_sweeps.SlurmLauncher"
    assert [asked[key.lower()] for key in ("PARTITION", "ACCOUNT", "GRES")] == ["p1", "eye", "gpu:l4:2"]
    assert (asked["cpus_per_task"], asked["mem_gb"], asked["timeout_min"]) == (3, 7, 90)
    assert asked["qos"] == (None if launcher == "slurm" else "eye")
    valid = {*SlurmExecutor._valid_parameters(), *SlurmExecutor._equivalence_dict(), *OWN_KEYS}
    assert set(asked) <= valid, set(asked) - valid
