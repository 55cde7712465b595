"""Sweeps that make no sense, on a cluster of programs that note when they are called: nothing is submitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retinai.sweeps.slurm import _OF_ONE_MACHINE, kind_of_disk

# Of forty jobs, that with number 17 asks for a fold that there is not.
ONE_IN_FORTY = f"data.fold={','.join('40' if n == 17 else str(n) for n in range(40))}"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which `submitted` appears when sbatch is called; sinfo names two other machines."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, line in (("sbatch", f"touch {tmp_path / 'submitted'}; exit 1"), ("sinfo", "echo c1; echo c2")):
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    (programs / "srun").symlink_to(programs / "sbatch")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data.folds=40", ONE_IN_FORTY, "hydra.launcher.check_shared=false"], "job 17 (data.fold=40)"),
        (["seed=range(0,41)", "max_jobs=40", "hydra.launcher.check_shared=false"], "would start 41 jobs"),
        (["seed=1,2"], "which the nodes of the cluster, such as c1, do not see"),
    ],
)
def test_nothing_is_submitted(
    cluster: Path, synthetic_aptos: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str],
    words: list[str], told: str,
) -> None:  # fmt: skip
    if "seed=1,2" in words and not _OF_ONE_MACHINE.fullmatch(kind_of_disk(cluster, Path("/proc/mounts"))):
        pytest.skip("this machine's temporary folder lies on a disk that others may see")
    common = ["data=aptos", f"data.root={synthetic_aptos}", "trainer=cpu", "logger=none", "sweep=try"]
    places = [f"paths.outputs={cluster / 'outputs'}", "hydra/launcher=slurm"]
    assert command("train", "-m", *common, *places, *words) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said and said.count("error: ") == 1, said
    assert not (cluster / "submitted").exists() and not (cluster / "outputs").exists()
