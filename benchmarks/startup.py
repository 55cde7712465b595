"""How long `--help` takes: heavy imports wait until a command needs them."""

from __future__ import annotations

import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.common import Result, side_by_side

_ROOT = Path(__file__).resolve().parents[1]


def measure(rounds: int) -> Result:
    """Time `python train.py --help` and `retinai --help`, each in a process of its own.

    Args:
        rounds: Calls of each.
    """
    commands = {
        "python train.py --help": [sys.executable, str(_ROOT / "train.py"), "--help"],
        "retinai --help": [sys.executable, "-m", "retinai.cli", "--help"],
    }

    def call(words: list[str]) -> None:
        subprocess.run(words, cwd=_ROOT, check=True, capture_output=True)

    seconds = side_by_side({name: partial(call, words) for name, words in commands.items()}, rounds).seconds
    slower = max(statistics.median(times) for times in seconds.values())
    return Result("start-up: slower of the two, in seconds", "< 1.5", slower, seconds)
