"""Timing of contenders side by side: A B A B, medians with the range, threads fixed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Result:
    """What one comparison gave.

    Args:
        name: The question in a few words.
        goal: What is hoped for, such as `>= 10x`.
        ratio: The measured ratio; None for a plain duration.
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


def side_by_side(contenders: Mapping[str, Callable[[], float | None]], rounds: int) -> dict[str, list[float]]:
    """Time contenders in turns, so that a machine that slows down slows all of them.

    Args:
        contenders: Name -> function; it returns its own seconds, or None to have the whole call timed.
        rounds: How often each runs, after one run that is thrown away.

    Returns:
        Name -> seconds, one for each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, action in contenders.items():
            begin = time.perf_counter()
            own = action()
            taken = time.perf_counter() - begin if own is None else own
            if number > 0:
                seconds[name].append(taken)
    return seconds


def ratio_of(seconds: Mapping[str, list[float]], above: str, below: str) -> float:
    """Return the median over rounds of one contender's time over another's, each round against itself.

    Args:
        seconds: What `side_by_side` returned.
        above: Contender whose time is divided.
        below: Contender it is divided by.
    """
    return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))
