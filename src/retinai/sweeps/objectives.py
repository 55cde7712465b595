"""What a study can look for in a trial: its score, and what its network costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from retinai.errors import UserError

if TYPE_CHECKING:
    from retinai.modules.grading import GradingModule

SCORE = "score"
Objective = Literal["score", "latency_ms", "parameters_m"]
# What people read.
LABELS: Mapping[str, str] = {
    SCORE: "best value of the monitored metric",
    "latency_ms": "ms of the network for one photograph (one CPU thread)",
    "parameters_m": "millions of parameters",
}
_WARM_UP, _CALLS = 5, 30


def directions(objectives: Sequence[str], direction: str) -> list[str]:
    """Return which way each objective is good: the score's own, and as little as can be of what a network costs.

    Args:
        objectives: Names.
        direction: Of the score: `maximize` or `minimize`.
    """
    return [direction if name == SCORE else "minimize" for name in objectives]


def measure(objectives: Sequence[str], score: float | None, run: Path) -> list[float | None]:
    """Return the values of a trial, in the order of the objectives.

    Args:
        objectives: Names.
        score: What the training returned.
        run: The run folder, for what is measured of its best checkpoint.

    Raises:
        UserError: If the checkpoint cannot be used, or is of a kind of model without such a measure.
    """
    asked = [name for name in objectives if name != SCORE]
    if not asked:
        return [score]
    from retinai.modules.load import load_module

    module = load_module(run / "checkpoints" / "best.ckpt")
    return [score if name == SCORE else _MEASURES[name](module) for name in objectives]


def _latency(module: GradingModule) -> float:
    """Return the median time of the network alone for one photograph on one thread of the CPU, in ms."""
    import torch

    if module.photograph_fields():
        raise UserError(
            "latency_ms is measured of networks that read photographs alone, and this one reads "
            f"{', '.join(field.name for field in module.photograph_fields())} besides; search for parameters_m instead"
        )
    side, threads = module.preprocessing.input_size, torch.get_num_threads()
    photograph = torch.zeros(1, 3, side, side)
    torch.set_num_threads(1)
    seconds = []
    try:
        with torch.inference_mode():
            for _ in range(_WARM_UP + _CALLS):
                begin = time.perf_counter()
                module.predict_probabilities(photograph)
                seconds.append(time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return 1000 * statistics.median(seconds[_WARM_UP:])


def _parameters(module: GradingModule) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


_MEASURES: dict[str, Callable[[GradingModule], float]] = {"latency_ms": _latency, "parameters_m": _parameters}
