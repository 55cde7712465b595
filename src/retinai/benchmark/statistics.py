"""Medians of rounds, and ratios of rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def median(values: Sequence[float]) -> float:
    """Return the median of numbers."""
    return float(statistics.median(values))


def spread(values: Sequence[float], scale: float = 1.0) -> dict[str, Any]:
    """Return median, lowest and highest of the rounds, and the rounds themselves, times `scale`."""
    scaled = [value * scale for value in values]
    return {"median": median(scaled), "low": min(scaled), "high": max(scaled), "rounds": scaled}


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """Return how many times longer `above` takes than `below`: each round against the same round of the other."""
    return spread([a / b for a, b in zip(above, below, strict=True)])
