"""The rows of the table for one shape of LLaVA: memory and speed on a GPU, and the two ratios."""

from __future__ import annotations

import gc
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import llava_grading, llava_training
from benchmarks.common import Result
from benchmarks.llava_setup import Setup, prepare

_GIB = 1 << 30
NO_GPU = "no GPU here"


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Args:
        rounds: How often each contender runs.
        graded: Photographs that are graded in a round.
        steps: Steps of the optimiser that are timed in a round.
        accumulate: Photographs per step of the optimiser.
    """

    rounds: int
    graded: int
    steps: int
    accumulate: int

    @property
    def photographs(self) -> int:
        """Photographs that a run of training goes through, warm-up included; at least those that are graded."""
        return max(self.graded, (llava_training.WARM + self.steps) * self.accumulate)


FULL = Plan(rounds=9, graded=3, steps=3, accumulate=4)
QUICK = Plan(rounds=2, graded=1, steps=1, accumulate=2)


def measure(shape: str, scratch: Path, plan: Plan) -> list[Result]:
    """Measure one shape.

    Args:
        shape: `tiny` or `7b`.
        scratch: Folder for network and photographs.
        plan: How much.

    Returns:
        The two ratios; on a GPU before them memory and photographs per second.
    """
    gpu = torch.cuda.is_available()
    if gpu:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    setup = prepare(shape, scratch, plan.photographs, plan.accumulate)
    memory = [_peak_memory(setup)] if gpu else []  # before TRL's copy of the network is there
    grading = llava_grading.compare(setup, plan.graded, plan.rounds)
    training = llava_training.compare(setup, plan.steps, plan.rounds, scratch / "trl")
    speed = [_per_second(shape, "training", training, "retinai"), _per_second(shape, "grading", grading, "scoring")]
    return [*memory, *(speed if gpu else []), grading, training]


def not_measured(shape: str) -> list[Result]:
    """Return the rows that `measure` gives on a GPU, without numbers."""
    return [
        Result(name, goal, None, {}, {"shape": shape, "not_measured": NO_GPU})
        for name, goal in (
            _memory_row(shape),
            _speed_row(shape, "training"),
            _speed_row(shape, "grading"),
            llava_grading.row(shape),
            llava_training.row(shape),
        )
    ]


def _memory_row(shape: str) -> tuple[str, str]:
    return f"{shape}: peak GPU memory at batch 1, GiB", "<= 12"


def _speed_row(shape: str, what: str) -> tuple[str, str]:
    return f"{shape}: {what}, photographs per second", ""


def _peak_memory(setup: Setup) -> Result:
    """Return the most memory that PyTorch held from loading on: while loading, training, grading and writing."""
    device = next(setup.module.parameters()).device
    peaks = {"loading": torch.cuda.max_memory_reserved() / _GIB}
    llava_training.train_ours(setup, llava_training.WARM + 1)
    peaks["training"] = torch.cuda.max_memory_reserved() / _GIB
    setup.module.to(device).eval()
    image = next(iter(setup.loader))["image"].to(device)
    with torch.inference_mode():
        setup.module.describe_lesions(image, setup.module(image).argmax(dim=1).tolist())
    peaks["grading"] = torch.cuda.max_memory_reserved() / _GIB
    name, goal = _memory_row(setup.shape)
    details = {"held_until_the_end_of": peaks, "used": torch.cuda.max_memory_allocated() / _GIB}
    return Result(name, goal, peaks["grading"], {}, details)


def _per_second(shape: str, what: str, result: Result, contender: str) -> Result:
    name, goal = _speed_row(shape, what)
    return Result(name, goal, 1 / statistics.median(result.seconds[contender]), {}, {"from": result.name})
