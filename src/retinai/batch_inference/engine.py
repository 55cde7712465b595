"""Grading on Ray: actors that hold the network take one part after another, here or on a cluster."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from retinai.batch_inference.job import SUMMARY, Job, write_whole
from retinai.batch_inference.parts import Statistics, grade_part, missing_parts, statistics_of
from retinai.config.devices import available_cores
from retinai.errors import UserError
from retinai.runtime import ExportedModel

_ANSWERS_WITHIN = 10.0  # seconds
_OBJECT_STORE = 200_000_000  # bytes; what goes through it are numbers of parts and their statistics


@dataclass(frozen=True)
class Workers:
    """Who grades.

    Args:
        count: Actors; None: one for every `threads` processors of the cluster.
        threads: Threads of the network of each.
        batch_size: Photographs per run of the network.
        attempts: How often a file is fetched at most.
        address: Of a Ray cluster; None starts Ray on this machine and ends it afterwards.
    """

    count: int | None = None
    threads: int = 1
    batch_size: int = 32
    attempts: int = 3
    address: str | None = None


class PartGrader:
    """An actor: it opens the exported folder once and grades part after part.

    Args:
        job: The job.
        workers: Its threads, batch size and attempts.
    """

    def __init__(self, job: Job, workers: Workers) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.job = job
        self.workers = workers
        self.grader = ExportedModel(job.model, threads=workers.threads)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Grade the parts of `batch["part"]`; return their statistics as columns."""
        rows = [
            asdict(grade_part(self.grader, self.job, int(part), self.workers.batch_size, self.workers.attempts))
            for part in batch["part"]
        ]
        return {name: [row[name] for row in rows] for name in rows[0]}


def grade_all(job: Job, workers: Workers) -> dict[str, Any]:
    """Grade the parts of a job that are missing; a part that is there is left as it is.

    An actor that dies (killed, out of memory, its machine gone) is started again and its part graded again. Parts are
    written whole under one name each, so nothing is lost and nothing occurs twice.

    Args:
        job: The job.
        workers: Who grades.

    Returns:
        What `_summary.json` holds: `photographs`, `bad`, `parts`, and of this call `graded`, `seconds`,
        `photographs_per_second`, `cpu_seconds_per_million`, `megabytes` (the most memory of an actor).

    Raises:
        UserError: If Ray cannot be reached, or a part could not be written.
    """
    began, graded = time.perf_counter(), list[Statistics]()
    todo = missing_parts(job)
    if todo:
        with _progress(job, todo) as done, _ray(workers) as count:
            for statistics in _run(job, workers, todo, count):
                graded.append(statistics)
                done(statistics.photographs)
    left = missing_parts(job)
    if left:
        raise UserError(
            f"{len(left)} of {job.parts} parts are missing in {job.out}; run it again, it goes on from there"
        )
    every = [statistics_of(job, part) for part in range(job.parts)]
    summary = _summary(every, graded, time.perf_counter() - began)
    write_whole(job, SUMMARY, json.dumps(summary, indent=1).encode())
    return summary


def _run(job: Job, workers: Workers, todo: list[int], count: int) -> Iterator[Statistics]:
    """Yield the statistics of parts as they are done."""
    import ray

    parts = ray.data.from_items([{"part": part} for part in todo], override_num_blocks=len(todo))
    results = parts.map_batches(
        PartGrader,
        fn_constructor_args=(job, workers),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(count, len(todo))),
        num_cpus=workers.threads,
    )
    try:
        for row in results.iter_rows():
            yield Statistics(**row)
    except ray.exceptions.RayError as error:
        raise UserError(f"a part could not be graded: {_reason(error)}; what is done is kept: run it again") from error


def _reason(error: BaseException) -> str:
    """Return what an actor raised, which Ray wraps in errors of its own, in one line."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, UserError):
        found = getattr(found, "cause", None) or found.__cause__
    last = str(found or error).strip().splitlines()[-1:]
    return last[0] if last else type(error).__name__


def _summary(every: list[Statistics], graded: list[Statistics], seconds: float) -> dict[str, Any]:
    photographs = sum(s.photographs for s in graded)
    return {
        "photographs": sum(s.photographs for s in every),
        "bad": sum(s.bad for s in every),
        "parts": len(every),
        "graded": photographs,
        "seconds": seconds,
        "photographs_per_second": photographs / seconds if photographs else None,
        "cpu_seconds_per_million": 1e6 * sum(s.processor for s in graded) / photographs if photographs else None,
        "megabytes": max((s.megabytes for s in graded), default=None),
    }


@contextmanager
def _ray(workers: Workers) -> Iterator[int]:
    """Have Ray run; give the number of actors. Ray tells nobody anything about its use."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its notes on its own actors help nobody here
    import ray

    own = not ray.is_initialized()
    if own:
        here: dict[str, Any] = {}
        if workers.address is None:
            processors = available_cores() if workers.count is None else workers.count * workers.threads
            here = {"num_cpus": max(1, processors), "object_store_memory": _OBJECT_STORE, "include_dashboard": False}
        _check_address(workers.address)
        try:
            ray.init(address=workers.address, log_to_driver=False, logging_level=logging.ERROR, **here)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"Ray could not be reached (ray_address={workers.address}): {error}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        processors = int(ray.cluster_resources().get("CPU", 1))
        yield workers.count or max(1, processors // workers.threads)
    finally:
        if own:
            ray.shutdown()


def _check_address(address: str | None) -> None:
    """Refuse the address of a cluster at which nobody listens: Ray itself asks there for minutes.

    Args:
        address: `HOST:PORT`, with `ray://` before it or not; None and Ray's own words, such as `auto`, are left to Ray.

    Raises:
        UserError: Says why.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_WITHIN).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"no Ray cluster answers at ray_address={address} ({error}); look whether it runs") from error


@contextmanager
def _progress(job: Job, todo: list[int]) -> Iterator[Any]:
    """Show how many photographs are graded; give a function that tells of more."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    left = sum(min(job.part_size, job.photographs - part * job.part_size) for part in todo)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("grading", total=job.photographs, completed=job.photographs - left)
        yield lambda photographs: bar.advance(task, photographs)
