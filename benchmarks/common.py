"""What all benchmarks share: options, contenders timed in turns (A B A B), results as a table."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


@dataclass
class Result:
    """What one comparison gave.

    Args:
        name: The question in a few words.
        goal: What is hoped for, such as `>= 10x`.
        ratio: The measured ratio, or what the goal is about; None if it was not measured.
        seconds: Contender -> its times in seconds.
        details: Sizes and settings that the numbers depend on.
    """

    name: str
    goal: str
    ratio: float | None
    seconds: dict[str, list[float]]
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with the median, lowest and highest time of each contender."""
        summary = {
            name: {"median": statistics.median(times), "low": min(times), "high": max(times), "rounds": len(times)}
            for name, times in self.seconds.items()
        }
        return {**asdict(self), "summary": summary}


class Spent(NamedTuple):
    """Time by the clock, and by the processors, which other work on the machine lengthens less."""

    seconds: float
    processor: float


class Times(NamedTuple):
    """Contender -> its times, one for each round, by both clocks."""

    seconds: dict[str, list[float]]
    processor: dict[str, list[float]]


def read_options(words: Sequence[str], defaults: Mapping[str, str], script: str) -> dict[str, str]:
    """Return the options of a command line such as `quick=true out=FOLDER`, or leave with a sentence.

    Args:
        words: The command line without the script.
        defaults: Every option with what it is when it is not given.
        script: The file whose text explains them.
    """
    options = dict(defaults)
    for word in words:
        key, _, value = word.partition("=")
        if key not in options:
            sys.exit(f"error: unknown option {word!r}; valid: {', '.join(f'{k}=' for k in options)} (see {script})")
        options[key] = value
    return options


def side_by_side(contenders: Mapping[str, Callable[[], Spent | None]], rounds: int, items: int = 1) -> Times:
    """Time contenders in turns, so that a machine that slows down slows all of them.

    Args:
        contenders: Name -> function; it returns its own times, or None to have the whole call timed.
        rounds: How often each runs, after one run that is thrown away.
        items: What a run goes through; times are divided by it.
    """
    times = Times({name: [] for name in contenders}, {name: [] for name in contenders})
    for number in range(rounds + 1):
        for name, action in contenders.items():
            begin, used = time.perf_counter(), time.process_time()
            own = action()
            taken = own or Spent(time.perf_counter() - begin, time.process_time() - used)
            if number > 0:
                times.seconds[name].append(taken.seconds / items)
                times.processor[name].append(taken.processor / items)
    return times


def ratio_of(seconds: Mapping[str, list[float]], above: str, below: str) -> float:
    """Return the median over rounds of one contender's time over another's, each round against itself.

    Args:
        seconds: One clock of what `side_by_side` returned.
        above: Contender whose time is divided.
        below: Contender it is divided by.
    """
    return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


def print_results(results: Sequence[Result], title: str, times: str, digits: int) -> None:
    """Print results as a table.

    Args:
        results: What was measured.
        title: The machine in a line.
        times: What the times are of.
        digits: Of a time, after the point.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for header in ("comparison", "measured", "goal", f"{times}: median (low to high)"):
        table.add_column(header, overflow="fold")
    for result in results:
        lines = [
            f"{name}: {t['median']:.{digits}f} s ({t['low']:.{digits}f} to {t['high']:.{digits}f})"
            for name, t in result.to_dict()["summary"].items()
        ]
        measured = "not measured" if result.ratio is None else f"{result.ratio:.2f}"
        table.add_row(result.name, measured, result.goal, "\n".join(lines))
    Console(width=max(110, Console().width)).print(table)
