"""The process of one row: it loads the network and answers orders, a line of JSON each.

It runs as `python -m retinai.benchmark.worker`. Standard output carries the answers alone; whatever
libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import cv2

from retinai.benchmark.contenders import Contender, open_contender
from retinai.benchmark.rows import Row
from retinai.config.devices import peak_memory
from retinai.errors import UserError


class Worker:
    """Answers orders about one row.

    Args:
        row: The row.
        photographs: JPEG files that batches are made of, in turns.
        threads: Threads of everything that has threads.
    """

    def __init__(self, row: Row, photographs: list[str], threads: int) -> None:
        cv2.setNumThreads(threads)
        self.jpegs = [open(path, "rb").read() for path in photographs]  # noqa: PTH123, SIM115
        begin = time.perf_counter()
        self.contender: Contender = open_contender(row, threads)
        self.load_seconds = time.perf_counter() - begin
        self._alone: dict[int, Callable[[], Any]] = {}

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order.

        Args:
            order: `do` (`network`, `grade`, `peak`, `facts`) with `batch` and `calls`.

        Returns:
            `seconds` per call, for `network` `processor` seconds of all threads too, and for `grade` the
            `stages` of each call; `megabytes`; or facts.
        """
        what = order["do"]
        if what == "peak":
            return {"megabytes": peak_memory()}
        if what == "facts":
            return self.contender.facts() | {"load_seconds": self.load_seconds}
        batch, calls = int(order["batch"]), int(order["calls"])
        return (self._network if what == "network" else self._grade)(batch, calls)

    def _network(self, batch: int, calls: int) -> dict[str, Any]:
        if batch not in self._alone:
            self._alone[batch] = self.contender.alone(batch)
        run, seconds, processor = self._alone[batch], [], []
        for _ in range(calls):
            worked, begin = time.process_time(), time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begin)
            processor.append(time.process_time() - worked)
        return {"seconds": seconds, "processor": processor}

    def _grade(self, batch: int, calls: int) -> dict[str, Any]:
        seconds, stages = [], []
        for call in range(calls):
            jpegs = [self.jpegs[(call * batch + i) % len(self.jpegs)] for i in range(batch)]
            begin = time.perf_counter()
            _, spent = self.contender.grade(jpegs)
            seconds.append(time.perf_counter() - begin)
            stages.append(spent)
        return {"seconds": seconds, "stages": stages}


def keep_to_cores(threads: int) -> None:
    """Keep this process to as many processors as it has threads, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        own = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, own[: max(1, min(threads, len(own)))])


def serve(orders: TextIO, answers: TextIO) -> None:
    """Answer orders until `quit` or the end of the input.

    Args:
        orders: The first line is `{"row", "photographs", "threads"}`, each further one an order.
        answers: One line per line read.
    """

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    first = json.loads(orders.readline())
    keep_to_cores(first["threads"])
    try:
        worker = Worker(Row(**first["row"]), first["photographs"], first["threads"])
    except UserError as error:
        say({"fault": str(error)})
        return
    say({"ready": True})
    for line in orders:
        order = json.loads(line)
        if order["do"] == "quit":
            return
        try:
            say(worker.answer(order))
        except UserError as error:
            say({"fault": str(error)})


def main() -> None:
    """Serve on standard input and output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print, in Python or in C, must not come between the answers
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
