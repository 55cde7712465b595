"""A sweep in the queue of a real SLURM, watched from outside: the files that it writes, and its jobs' ids."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch
from small_network import SMALL_NETWORK

TINY = ["data=aptos", "data.num_workers=0", "data.batch_size=4", *SMALL_NETWORK,
        "backbone.input_size=24", "trainer=cpu", "logger=none", "calibrate=false",
        "test=false", "callbacks.early_stopping=null"]  # fmt: skip
SITE = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2",
        "hydra.launcher.check_shared=false"]  # fmt: skip


class WatchedSweep:
    """A sweep of tiny runs.

    Args:
        folder: A folder that is empty; outputs and cache go into it.
        jobs: How many jobs it has.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        self.folder, self.jobs = folder / "outputs" / "sweeps" / "try", jobs
        self.places = [f"paths.outputs={folder / 'outputs'}", f"paths.cache={folder / 'cache'}"]

    def file(self, name: str) -> dict:
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else {}

    def states(self) -> list[str]:
        return [self.file(f"states/{n}.json").get("status", "") for n in range(self.jobs)]

    def queue_id(self, number: int) -> str:
        return self.file("sweep.json")["submissions"][-1]["ids"][str(number)]

    def run(self, number: int) -> Path:
        return self.folder / self.file("sweep.json")["jobs"][number]["folder"]

    def weights(self, number: int) -> dict[str, torch.Tensor]:
        return torch.load(self.run(number) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self.folder.glob("slurm/*.out"))

    def wait(self, done: Callable[[], bool], seconds: float = 500) -> None:
        """Wait; jobs that were put back in the queue are let in at once, where SLURM would wait for two minutes."""
        deadline, asked = time.monotonic() + seconds, 0.0
        while not done():
            assert time.monotonic() < deadline, (self.states(), self.logs())
            if time.monotonic() - asked > 5:
                asked = time.monotonic()
                for job in self.held_back():
                    words = ["scontrol", "update", f"JobId={job}", "StartTime=now+1"]
                    subprocess.run(words, check=False, timeout=60, capture_output=True)
            time.sleep(0.3)

    def held_back(self) -> list[str]:
        """Return the ids of jobs that wait for nothing but a time to begin at."""
        words = ["squeue", "--noheader", "--array", "--states=PENDING", "--format=%i %r"]
        said = subprocess.run(words, check=False, timeout=60, capture_output=True, text=True).stdout
        return [line.split()[0] for line in said.splitlines() if line.endswith(" BeginTime")]
