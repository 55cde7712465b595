"""Work on many files in several processes, bounded, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait as wait_for
from typing import Any, TypeVar

from retinai.config.devices import available_cores
from retinai.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")

_MOST_WORKERS, _MOST_LOADERS = 16, 4
_MEMORY_PER_WORKER = 1.5e9  # the largest photograph allowed, in a few copies
_SMALL = 32_000_000  # bytes of files below which starting processes costs more than it saves


def choose_workers(workers: int | str | None, total_bytes: int) -> int:
    """Return how many processes to use; 0 works in this one.

    Args:
        workers: A number from 0, or `auto` (or None): one per core that this job may use, bounded by
            memory, and none for a few small files.
        total_bytes: Size of all files to work on.

    Raises:
        UserError: If `workers` is neither.
    """
    if workers is None or workers == "auto":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8e9
        auto = max(1, min(available_cores(), _MOST_WORKERS, int(memory / _MEMORY_PER_WORKER)))
        return 0 if total_bytes < _SMALL or auto == 1 else auto
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
        raise UserError(f"workers={workers} must be auto or a whole number from 0")
    return workers


def choose_loader_workers(workers: int | str, samples: int, batch_size: int) -> int:
    """Return the number of loader processes; `auto`: one per core but one, at most 4, none for four batches or less.

    They end with every loader and share the cores with the network, so `auto` takes fewer than `choose_workers`.

    Args:
        workers: A number from 0, or `auto`.
        samples: How many samples there are.
        batch_size: Samples per batch.
    """
    if workers != "auto":
        return int(workers)
    return 0 if samples <= 4 * batch_size else max(0, min(available_cores() - 1, _MOST_LOADERS))


def run_parallel(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, progress: str | None
) -> Iterator[Result]:
    """Yield the result of each job as it is done, in any order.

    Args:
        function: A function of a module (processes are spawned, so that it must be importable).
        jobs: What to call it with; picklable.
        workers: Number of processes; 0 works in this process.
        progress: Text of the progress bar on stderr, or None for no bar.

    Yields:
        The results.

    Raises:
        UserError: If a process was killed, which is most often for lack of memory.
    """
    results = map(function, jobs) if workers == 0 else _pooled(function, jobs, workers)
    if progress is None or not jobs:
        yield from results
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield from bar.track(results, total=len(jobs), description=progress)


def _pooled(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Yield results from a pool that never holds more than a few jobs per process."""
    # Spawned, not forked: a fork inherits the locks of threads (torch, OpenCV) and may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    waiting, running = iter(jobs), set[Future[Result]]()
    try:
        while True:
            jobs_now = list(islice(waiting, 4 * workers - len(running)))
            with _signals_held():
                running |= {pool.submit(function, job) for job in jobs_now}
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, most likely for lack of memory; what is done is kept: run it again "
            "with fewer, such as workers=1"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold SIGTERM back while processes start: one whose parent leaves at that moment ends with a traceback.

    Ctrl-C is ignored meanwhile, which the processes inherit: a terminal sends it to them too, and it is their parent
    that ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    came: list[int] = []
    former = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    if None in former.values():  # set outside of Python, so it could not be put back
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if former[signal.SIGTERM] is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, lambda signum, frame: came.append(signum))
    try:
        yield
    finally:
        for signum, handler in former.items():
            signal.signal(signum, handler)
        for number in came:
            os.kill(os.getpid(), number)


def _start_worker() -> None:
    """Keep OpenCV to one thread, and end with the parent even when it is killed."""
    import cv2

    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
