"""Rounds: every row has its process, all are loaded, and they are measured in turns, A B C A B C.

While one row is measured the others wait for an order and take no processor time. A machine that slows
down for a while slows the neighbours in the same round as well, so ratios within a round stay fair.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from retinai.benchmark.rows import Row
from retinai.benchmark.statistics import median

# Seconds that one row's turn should take: long enough to time, short enough that the neighbours see the same machine.
TURN = 0.4
_MOST_CALLS = 50
WHATS = ("network", "grade")


@dataclass
class Measured:
    """What was measured of a row.

    Args:
        row: The row.
        seconds: (what, batch) -> seconds per call, the median of each round; what is `network`, `grade`, or
            `processor`: those of all threads while the network runs, which other work on the machine hardly adds to.
        stages: batch -> stage of `grade` -> seconds per call, the median of each round.
        megabytes: batch -> peak memory of the process up to then.
        facts: `parameters`, `macs`, `bytes`, `load_seconds`, `memory_formats`.
        reason: Why there is nothing, if there is nothing.
    """

    row: Row
    seconds: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    stages: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    megabytes: dict[int, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


class RowFailedError(Exception):
    """A row that cannot be measured; its text is the reason."""


class RowProcess:
    """The process of a row.

    Args:
        row: The row.
        photographs: JPEG files.
        threads: Threads of everything in it.
    """

    def __init__(self, row: Row, photographs: Sequence[str], threads: int) -> None:
        self._errors = tempfile.TemporaryFile(  # noqa: SIM115 (as long as the process)
            "w+", encoding="utf-8", errors="replace"
        )
        count = str(threads)
        environment = {**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "retinai.benchmark.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment,
        )  # fmt: skip
        self._send({"row": row.to_dict(), "photographs": list(photographs), "threads": threads})

    def wait_until_ready(self) -> None:
        """Wait until the network is loaded.

        Raises:
            RowFailedError: If it cannot be.
        """
        self._receive()

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Give an order and return the answer.

        Raises:
            RowFailedError: If the row cannot carry it out or its process has ended.
        """
        self._send({"do": do, **order})
        return self._receive()

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._errors.close()

    def _send(self, content: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(content) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RowFailedError(self._last_words()) from None

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RowFailedError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "fault" in answer:
            raise RowFailedError(answer["fault"])
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        said = f": {lines[-1]}" if lines else ""
        cause = " (killed, perhaps for want of memory)" if code == -9 else ""
        return f"its process ended with code {code}{cause}{said}"


def measure(
    rows: Sequence[Row],
    photographs: Sequence[Path],
    *,
    threads: int,
    plan: Sequence[tuple[int, int]],
    turn: float = TURN,
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> list[Measured]:
    """Measure rows in turns.

    Args:
        rows: What to measure.
        photographs: JPEG files.
        threads: Threads of each row.
        plan: (photographs per batch, rounds), from the smallest batch up, since peak memory only grows.
        turn: Seconds that a row's turn should take; at least one call is made.
        progress: Called with what is happening, and steps done and to do.

    Returns:
        A measurement per row, in order; a row that failed has a reason.
    """
    measured = [Measured(row) for row in rows]
    processes: dict[str, RowProcess] = {}
    steps = _Steps(progress, len(rows) * (2 + sum(rounds + 1 for _, rounds in plan)))
    try:
        for one in measured:
            processes[one.row.key] = RowProcess(one.row, [str(path) for path in photographs], threads)
        _everyone(measured, steps, "loading", lambda one: processes[one.row.key].wait_until_ready())
        for batch, rounds in plan:
            calls: dict[tuple[str, str], int] = {}
            warm_up = partial(_warm_up, processes, batch, turn, calls)
            _everyone(measured, steps, f"warming up, batch {batch}", warm_up)
            for number in range(1, rounds + 1):
                one_round = partial(_one_round, processes, batch, calls)
                _everyone(measured, steps, f"batch {batch}, round {number} of {rounds}", one_round)
        _everyone(measured, steps, "counting", lambda one: one.facts.update(processes[one.row.key].ask("facts")))
    finally:
        for process in processes.values():
            process.close()
    return measured


class _Steps:
    def __init__(self, progress: Callable[[str, int, int], None], total: int) -> None:
        self.progress, self.done, self.total = progress, 0, total

    def show(self, text: str) -> None:
        self.progress(text, self.done, self.total)
        self.done += 1


def _everyone(measured: Sequence[Measured], steps: _Steps, text: str, action: Callable[[Measured], Any]) -> None:
    """Let each row that still goes take its turn; one that fails keeps its reason and is left out from then on."""
    for one in measured:
        steps.show(f"{text}: {one.row.name}")
        if not one.reason:
            try:
                action(one)
            except RowFailedError as failure:
                one.reason = str(failure)


def _warm_up(
    processes: Mapping[str, RowProcess], batch: int, turn: float, calls: dict[tuple[str, str], int], one: Measured
) -> None:
    """Run everything until it is warm, note the peak memory, and decide how many calls a turn has room for."""
    process = processes[one.row.key]
    for what in WHATS:
        taken = process.ask(what, batch=batch, calls=1)["seconds"][0]
        if taken < 2 * turn:  # a long call was warm for most of its time
            taken = process.ask(what, batch=batch, calls=1)["seconds"][0]
        calls[one.row.key, what] = int(min(max(turn / max(taken, 1e-6), 1), _MOST_CALLS))
    one.megabytes[batch] = process.ask("peak")["megabytes"]


def _one_round(
    processes: Mapping[str, RowProcess], batch: int, calls: Mapping[tuple[str, str], int], one: Measured
) -> None:
    process = processes[one.row.key]
    for what in WHATS:
        answer = process.ask(what, batch=batch, calls=calls[one.row.key, what])
        one.seconds.setdefault((what, batch), []).append(median(answer["seconds"]))
        if what == "network":
            one.seconds.setdefault(("processor", batch), []).append(median(answer["processor"]))
        else:
            kept = one.stages.setdefault(batch, {})
            for stage in answer["stages"][0]:
                kept.setdefault(stage, []).append(median([spent[stage] for spent in answer["stages"]]))
