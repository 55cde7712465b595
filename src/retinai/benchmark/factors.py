"""A speed-up over ResNet-101 in PyTorch, taken apart: network, engine and precision, each measured like for like.

From ResNet-101 in PyTorch to the student's row there are two ways. One changes engine and precision first, with
ResNet-101, and the network last; the other changes the network first, in PyTorch, and goes on with the student.
Each step is a ratio of two rows that differ in one thing. In every round the steps of a way multiply to the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retinai.benchmark.rounds import Measured
from retinai.benchmark.rows import ENGINE_NAMES, REFERENCE, engine_name, row_key
from retinai.benchmark.statistics import ratio

FACTORS = ("network", "engine", "precision")


def take_apart(row: Mapping[str, Any], by_key: Mapping[str, Measured], batch: int) -> dict[str, Any]:
    """Return the factors of one row of the student.

    Args:
        row: The row, as `summarise` describes it.
        by_key: What was measured, by key of the row.
        batch: Photographs per call.

    Returns:
        `engine` and `precision` of the row in words; `missing`, the keys of the rows that the factors need and that
        were not measured; `network_first` and `network_last`, the two ways: factor -> its spread over the rounds, or
        None where a row of it is missing.
    """
    engine, precision = str(row["engine"]), str(row["precision"])

    def keys(network: str) -> tuple[str, str, str]:
        """PyTorch, the row's engine in float32, the row's engine and precision."""
        return (
            row_key(network, "pytorch", "fp32"),
            row_key(network, engine, "fp32"),
            row_key(network, engine, precision),
        )

    ours, theirs = keys(str(row["network"])), keys(REFERENCE)
    ways = {
        "network_last": {
            "engine": (theirs[0], theirs[1]), "precision": (theirs[1], theirs[2]), "network": (theirs[2], ours[2]),
        },
        "network_first": {
            "network": (theirs[0], ours[0]), "engine": (ours[0], ours[1]), "precision": (ours[1], ours[2]),
        },
    }  # fmt: skip
    needed = {key for way in ways.values() for pair in way.values() for key in pair}
    return {
        "engine": ENGINE_NAMES[engine],
        "precision": precision,
        "together": engine_name(engine, precision),
        "missing": sorted(needed - set(by_key)),
        **{way: _measured(pairs, by_key, batch) for way, pairs in ways.items()},
    }


def _measured(
    pairs: Mapping[str, tuple[str, str]], by_key: Mapping[str, Measured], batch: int
) -> dict[str, Any] | None:
    if any(key not in by_key for pair in pairs.values() for key in pair):
        return None
    times = {key: by_key[key].seconds["network", batch] for pair in pairs.values() for key in pair}
    return {factor: ratio(times[pairs[factor][0]], times[pairs[factor][1]]) for factor in FACTORS}
