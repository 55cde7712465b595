"""Handing the jobs of a sweep to SLURM: one array by submitit, which owns the signal before a job's time limit."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retinai.errors import UserError
from retinai.sweeps.queue import run_slurm
from retinai.sweeps.states import read_state

# Keys of conf/hydra/launcher that are ours, not submitit's.
OWN_KEYS = ("submitit_folder", "max_num_timeout", "needs_account", "check_shared")
# Keys that submitit takes for every kind of cluster; the others get its prefix `slurm_`.
_COMMON = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name",
           "stderr_to_stdout")  # fmt: skip
# Kinds of file systems that only one machine has.
_OF_ONE_MACHINE = re.compile(r"tmpfs|ramfs|overlay|aufs|ext[234]|xfs|btrfs|f2fs|squashfs")

# Words of SLURM's refusals, and the key that they are about; the first one that is found counts.
_SAID_OF = {"account": "account", "partition": "partition", "qos": "qos", "gres": "gres", "feature": "constraint",
            "time limit": "timeout_min", "memory": "mem_gb", "cpu count": "cpus_per_task"}  # fmt: skip


@dataclass(frozen=True)
class Submitted:
    """A job that was handed to the queue.

    Attributes:
        queue_id: Its id there, such as `4711_3`.
    """

    queue_id: str


class RefusedSubmissionError(UserError):
    """SLURM took none of the jobs."""


# Keys that are numbers, with the variables that set them.
_NUMBERS = {
    "cpus_per_task": "RETINAI_SLURM_CPUS", "mem_gb": "RETINAI_SLURM_MEM_GB", "timeout_min": "RETINAI_SLURM_MINUTES",
    "array_parallelism": "RETINAI_SLURM_PARALLEL",
}  # fmt: skip


def submit(launcher: Any, params: Mapping[str, Any], calls: Sequence[tuple[Any, ...]]) -> list[Submitted]:
    """Hand jobs to SLURM as one array; nothing is waited for.

    Args:
        launcher: What each job calls on its node, pickled by submitit.
        params: The section `hydra.launcher`.
        calls: The arguments of each job.

    Raises:
        RefusedSubmissionError: If SLURM refuses; in its words and ours.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    logs = Path(str(params["submitit_folder"])).absolute()
    executor = submitit.AutoExecutor(
        folder=logs, cluster="slurm", slurm_max_num_timeout=int(params.get("max_num_timeout") or 0)
    )
    named = {k if k in _COMMON else f"slurm_{k}": v for k, v in params.items() if k not in OWN_KEYS and v is not None}
    # From SLURM 22.05 on, srun does not take the cores per task from the job.
    cores = 'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"'
    named["slurm_setup"] = [cores, *(params.get("setup") or [])]
    try:
        executor.update_parameters(**named)
        jobs = executor.map_array(launcher, *zip(*calls, strict=True))
    except (FailedJobError, FailedSubmissionError, ValueError) as error:
        raise RefusedSubmissionError(refusal(str(error), params)) from error
    return [Submitted(str(job.job_id)) for job in jobs]


def check_cluster(params: Mapping[str, Any], folder: Path) -> None:
    """Refuse to submit where there is no SLURM, no account where one is needed, or a folder that nodes cannot see.

    Raises:
        UserError: Says what is missing and where it is set.
    """
    for key, variable in _NUMBERS.items():
        value = params.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 1):
            raise UserError(
                f"hydra.launcher.{key}={value} has to be a number from 1; it may come from the environment ({variable})"
            )
    if shutil.which("sbatch") is None:
        raise UserError(
            "sbatch is not on this machine, so nothing can be submitted to SLURM; start the sweep on a login node of "
            "the cluster, or here without hydra/launcher="
        )
    if params.get("needs_account") and not params.get("account"):
        raise UserError(
            "this cluster runs no job without an account: export RETINAI_SLURM_ACCOUNT=GROUP, or give "
            "hydra.launcher.account=GROUP (`sacctmgr show assoc user=$USER format=account,qos` lists yours)"
        )
    if params.get("check_shared", True):
        nodes = set((run_slurm("sinfo", "--noheader", "--Node", "--format=%N") or "").split())
        kind = kind_of_disk(folder, Path("/proc/mounts"))
        check_shared(folder, kind, nodes - {socket.gethostname(), socket.gethostname().partition(".")[0]})


def check_shared(folder: Path, kind: str, others: set[str]) -> None:
    """Refuse a folder on a disk of this machine alone where jobs would run on other machines.

    Args:
        folder: The sweep's folder.
        kind: The kind of its file system; empty where it is not known.
        others: The names of the nodes that are not this machine.

    Raises:
        UserError: Names the folder and a node.
    """
    if others and _OF_ONE_MACHINE.fullmatch(kind):
        raise UserError(
            f"{folder} lies on a disk of this machine ({kind}), which the nodes of the cluster, such as "
            f"{min(others)}, do not see; choose a shared place with paths.outputs= or RETINAI_OUTPUTS (HiPerGator: "
            "below /blue), or give hydra.launcher.check_shared=false if they do see it"
        )


def kind_of_disk(folder: Path, mounts: Path) -> str:
    """Return the kind of the file system on which a folder lies or will lie; empty where the system does not tell.

    Args:
        folder: The folder.
        mounts: The table of mounted file systems, as Linux writes it.
    """
    if not mounts.exists():
        return ""
    rows = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    place = folder.expanduser().resolve()
    found = [(len(row[1]), row[2]) for row in rows if len(row) > 2 and place.is_relative_to(_unescaped(row[1]))]
    longest = max((length for length, _ in found), default=0)
    return next((kind for length, kind in reversed(found) if length == longest), "")  # the last one covers the others


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def refusal(said: str, params: Mapping[str, Any]) -> str:
    """Return SLURM's refusal of a submission with what mends it.

    Args:
        said: What submitit made of it.
        params: The section `hydra.launcher`.
    """
    words = [line.strip() for line in said.splitlines() if "sbatch: error" in line]
    told = "; ".join(line.removeprefix("sbatch: error: ") for line in words) or " ".join(said.split())
    key = next((key for word, key in _SAID_OF.items() if word in told.lower()), "")
    hint = f"check hydra.launcher.{key}={params.get(key)}" if key else "check the keys of hydra.launcher"
    if key == "partition":
        listed = sorted(set((run_slurm("sinfo", "--noheader", "--format=%R") or "").split()))
        hint += f" (this cluster has: {', '.join(listed)})" if listed else ""
    return f"SLURM refused the sweep: {told}; {hint}. No job was submitted"


def keep_signal_to_this_process() -> None:
    """Let processes that are forked from now on (loaders) ignore the signal that submitit answers by a requeue.

    SLURM sends it to every process of a job, and each of them would put the job back in the queue.
    """
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN))


def check_progress(folder: Path, run: Path, number: int, began_with: float | None) -> None:
    """Refuse to put a job back in the queue that came no further: it would do the same again, for ever.

    The first start may have spent its time on reading photographs for the cache.

    Args:
        folder: The sweep's folder.
        run: The job's run folder.
        number: The job's number.
        began_with: When `last.ckpt` was written that this start began with; None if there was none.

    Raises:
        UserError: If this is not the first start and no epoch was finished in it.
    """
    if int(read_state(folder, number).get("starts", 1)) > 1 and checkpoint_time(run) == began_with:
        raise UserError(
            "no epoch was finished within the time limit, so the job was not put back in the queue; ask for more time "
            "(hydra.launcher.timeout_min=)"
        )


def checkpoint_time(run: Path) -> float | None:
    """Return when the last checkpoint of a run was written; None if there is none."""
    last = run / "checkpoints" / "last.ckpt"
    return last.stat().st_mtime if last.exists() else None
