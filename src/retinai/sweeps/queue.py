"""What the queue of a cluster (SLURM) says of the jobs of a sweep."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from retinai.sweeps.record import SweepRecord
from retinai.sweeps.states import FAILED, PENDING, RUNNING, InQueue

_PATIENCE = 30.0  # seconds that a busy controller may take to answer
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
_AT_WORK = ("RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "SIGNALING", "STAGE_OUT", "STOPPED", "RESIZING")


def ask_queue(sweep: SweepRecord) -> dict[str, InQueue] | None:
    """Return what the queue says of each job that was handed to it.

    Jobs that are no longer in the queue are looked up in the controller's memory, then in the accounting.

    Returns:
        By the ids of `sweep.queue_ids()`; None where SLURM cannot be asked (another machine, no answer).
    """
    ids = sorted(set(sweep.queue_ids().values()))
    if not ids:
        return {}
    listed = run_slurm("squeue", "--noheader", "--array", "--me", "--format=%i|%T|%r")
    if listed is None:
        return None
    rows = [line.strip().split("|") for line in listed.splitlines() if line.count("|") == 2]
    there = {job: _in_queue(state, reason) for job, state, reason in rows if job in ids}
    return {job: there.get(job) or _ended(job) for job in ids}


def run_slurm(*words: str) -> str | None:
    """Return what a command of SLURM prints; None if it is not there, fails or does not answer."""
    if shutil.which(words[0]) is None:
        return None
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _in_queue(state: str, reason: str) -> InQueue:
    if state in _WAITING:
        return InQueue(PENDING, "" if reason == "None" else f"SLURM: {reason}")
    return InQueue(RUNNING if state in _AT_WORK else FAILED, f"SLURM: {state}" if state not in _AT_WORK else "")


def _ended(job: str) -> InQueue:
    """Return what SLURM remembers of a job that is not in the queue."""
    shown = run_slurm("scontrol", "--oneliner", "show", "job", job) or ""
    facts = dict(pair for pair in re.findall(r"(\w+)=(\S+)", shown) if pair[0] in ("JobState", "ExitCode", "Reason"))
    if facts.get("JobState") in _WAITING:  # put back between the two questions
        return InQueue(PENDING)
    if facts.get("JobState"):
        return InQueue(FAILED, _told([facts["JobState"], facts.get("Reason", ""), facts.get("ExitCode", "")]))
    listed = run_slurm("sacct", "--noheader", "--parsable2", "--allocations", "--jobs", job, "--format=State,ExitCode")
    last = (listed or "").strip().splitlines()[-1:]
    return InQueue(FAILED, _told(last[0].split("|"))) if last else InQueue(None, "SLURM no longer knows the job")


def _told(words: Sequence[str]) -> str:
    state, *more = words
    shown = [word for word in more if word not in ("None", "", "0:0")]
    return ", ".join([f"SLURM: {state}", *(f"exit code {w}" if ":" in w else w for w in shown)])
