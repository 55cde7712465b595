"""A real SLURM for the tests of this folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_START = Path(__file__).resolve().parents[1] / "slurm" / "start_slurm.sh"


@pytest.fixture(scope="module")  # files may run side by side, and one SLURM at a time is all that a machine has
def slurm_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A SLURM of this machine alone: one that runs, or else one that is started and stopped; skip without either."""
    _skip_without_programs()
    if _answers("scontrol", "ping", expected=" is UP"):
        if not _answers("sinfo", "-h", "-N", "-o", "%N", expected=socket.gethostname().partition(".")[0], only=True):
            pytest.skip("SLURM has other nodes than this machine, which may not see the folders of a test")
        yield
        return
    with _started(tmp_path_factory.mktemp("slurm"), "1"):
        yield


@pytest.fixture(scope="module")
def slurm_of_two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A SLURM of two nodes, `fake1` and `fake2`, which are both this machine; skip where it cannot be started."""
    with _own_slurm(tmp_path_factory.mktemp("slurm"), "2"):
        yield


@pytest.fixture(scope="module")
def slurm_like_hipergator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A SLURM with HiPerGator's names, whose node says that it has GPUs; skip where it cannot be started."""
    with _own_slurm(tmp_path_factory.mktemp("slurm"), "hipergator"):
        yield


@contextmanager
def _own_slurm(place: Path, nodes: str) -> Iterator[None]:
    _skip_without_programs()
    if _answers("scontrol", "ping", expected=" is UP"):
        pytest.skip("a SLURM runs on this machine already, and a second one beside it cannot be started")
    with _started(place, nodes):
        yield


def _skip_without_programs() -> None:
    missing = [name for name in ("sbatch", "slurmctld", "slurmd", "munged") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"SLURM is not installed ({', '.join(missing)}): apt-get install slurm-wlm munge")


@contextmanager
def _started(place: Path, nodes: str) -> Iterator[None]:
    """Have a SLURM run in a folder."""
    if os.geteuid() != 0:
        pytest.skip("SLURM is installed, but its controller does not answer, and only root can start one")
    with (Path(tempfile.gettempdir()) / "retinai-slurm.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        os.environ["SLURM_CONF"] = _slurm(place, nodes)
        try:
            yield
        finally:
            _slurm(place, nodes, "stop")
            del os.environ["SLURM_CONF"]


def _slurm(place: Path, nodes: str, *words: str) -> str:
    """Start or stop it; return what the script says."""
    environment = {**os.environ, "RETINAI_TEST_SLURM": str(place), "RETINAI_TEST_SLURM_NODES": nodes}
    command = ["bash", str(_START), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _answers(*words: str, expected: str, only: bool = False) -> bool:
    """Return whether a command of SLURM says what is expected, or with `only` nothing else."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return {*done.stdout.split()} == {expected} if only else expected in done.stdout
