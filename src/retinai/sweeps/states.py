"""The state of each job of a sweep: from what the job wrote, its run's record, and the queue of the cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retinai.errors import UserError
from retinai.files import read_json, told, write_json
from retinai.run.lock import is_locked
from retinai.run.run_records import RECORD, is_number, read_record
from retinai.sweeps.record import SweepJob, SweepRecord, now

STATES = "states"
# What a job can be. Those of `UNDONE` are begun by the next call.
PENDING, RUNNING, REQUEUED, FAILED, FINISHED = "pending", "running", "requeued", "failed", "finished"
INTERRUPTED, MISSING, PRUNED = "interrupted", "missing", "pruned"
UNDONE = (FAILED, INTERRUPTED, MISSING)


@dataclass(frozen=True)
class JobState:
    """What is known of a job.

    Attributes:
        job: The job.
        status: One of the constants of this module.
        reason: Why it failed or waits; empty otherwise.
        record: `run.json` of its run; empty before there is one.
        told: What the job itself wrote down; empty before it began.
        queue_id: Its id in the queue; empty where there is none.
    """

    job: SweepJob
    status: str
    reason: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    queue_id: str = ""


@dataclass(frozen=True)
class InQueue:
    """What the queue says of one job.

    Attributes:
        status: `PENDING`, `RUNNING`, or `FAILED` where the queue says that it ended; None where it does not know it.
        reason: In the queue's words.
    """

    status: str | None
    reason: str = ""


def note_state(folder: Path, number: int, **facts: Any) -> None:
    """Write down what a job knows of itself; earlier facts stay unless they are given anew.

    Args:
        folder: The sweep's folder.
        number: The job's number.
        **facts: Such as `status`, `reason` and `score`.
    """
    path = folder / STATES / f"{number}.json"
    write_json(path, {**read_state(folder, number), **facts, "changed": now()})


def begin_state(folder: Path, number: int) -> None:
    """Write down that a job runs, where, and how often it has been started."""
    starts = int(read_state(folder, number).get("starts", 0)) + 1
    here = {"host": socket.gethostname(), "process": os.getpid()}
    note_state(folder, number, status=RUNNING, reason="", starts=starts, queue_id=own_queue_id(), **here)


def own_queue_id() -> str:
    """Return the id in the queue of the job that this process belongs to; empty outside of one."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def read_state(folder: Path, number: int) -> dict[str, Any]:
    """Return what a job wrote down of itself, without what makes no sense; empty if it wrote nothing readable."""
    path = folder / STATES / f"{number}.json"
    try:
        told = read_json(path)
    except UserError:
        return {}
    return {key: value for key, value in told.items() if _makes_sense(key, value)}


def _makes_sense(key: str, value: Any) -> bool:
    if key == "score":
        return value is None or is_number(value)
    if key == "starts":
        return type(value) is int
    return key not in ("status", "reason", "queue_id") or isinstance(value, str)


def job_states(
    folder: Path, sweep: SweepRecord, queue: Mapping[str, InQueue] | None, at_work: bool | None = None
) -> list[JobState]:
    """Return the state of every job, by number.

    Args:
        folder: The sweep's folder.
        sweep: Its record.
        queue: What the queue says, by the ids of `sweep.queue_ids()`; None where it cannot be asked.
        at_work: Whether a process runs the jobs one after the other; None asks the lock of the folder. A process that
            holds this lock must say it, since it would lose it by asking.
    """
    ids = sweep.queue_ids()
    if at_work is None:
        at_work = is_locked(folder)
    return [_state(folder, job, ids.get(job.number, ""), queue, at_work) for job in sweep.jobs]


def _state(folder: Path, job: SweepJob, queue_id: str, queue: Mapping[str, InQueue] | None, at_work: bool) -> JobState:
    """Combine what is known of one job; what is done is done, whatever else is said."""
    told, record = read_state(folder, job.number), _record(folder / job.folder)
    known: dict[str, Any] = {"record": record, "told": told, "queue_id": queue_id}
    status, reason = str(told.get("status") or ""), str(told.get("reason") or "")
    ended = record.get("status") == FINISHED and status != FAILED and not (status == RUNNING and at_work)
    if status == FINISHED or ended:
        return JobState(job, PRUNED if told.get("pruned") else FINISHED, **known)
    if status == FAILED and (not queue_id or told.get("queue_id") == queue_id):
        return JobState(job, FAILED, reason, **known)
    queued = (queue or {}).get(queue_id) if queue_id else None
    if queued is not None and queued.status in (PENDING, RUNNING):
        waits = REQUEUED if queued.status == PENDING and told.get("queue_id") == queue_id else queued.status
        return JobState(job, waits, queued.reason, **known)
    if queue_id:
        return _gone_from_queue(JobState(job, status, reason, **known), queued, queue is None)
    if status == RUNNING and at_work:
        return JobState(job, RUNNING, **known)
    if status in (RUNNING, INTERRUPTED):
        return JobState(job, INTERRUPTED, "its process was ended", **known)
    return JobState(job, PENDING if at_work else MISSING, **known)


def _gone_from_queue(state: JobState, queued: InQueue | None, unasked: bool) -> JobState:
    """Return the state of a job that was handed to a queue, is not finished, and does not wait there."""
    began = state.told.get("queue_id") == state.queue_id
    if unasked:
        status = state.status if began and state.status == RUNNING else REQUEUED if began else PENDING
        return JobState(state.job, status, "as last noted: SLURM cannot be asked here", **_known(state))
    reason = queued.reason if queued and queued.reason else "it is no longer in the queue"
    if not began:
        reason = (
            f"{reason}; it wrote nothing, not even a log: its node may not see the folder of the sweep, which has to "
            "lie on a disk that all nodes share (paths.outputs=)"
        )
    return JobState(state.job, FAILED, reason, **_known(state))


def _known(state: JobState) -> dict[str, Any]:
    return {"record": state.record, "told": state.told, "queue_id": state.queue_id}


def _record(folder: Path) -> dict[str, Any]:
    try:
        return read_record(folder) if (folder / RECORD).exists() else {}
    except UserError as error:
        return {"status": "damaged", "reason": str(error)}
    except OSError as error:  # of somebody else, who lets nobody read it
        return {"status": "damaged", "reason": f"{folder} cannot be read: {told(error)}"}
