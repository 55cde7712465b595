"""The script that measures the small LLaVA says what it needs, and adds up the parts of a training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("words", "code", "told"), [(["--help"], 0, "root=FOLDER"), (["root=nowhere"], 1, "no folder")]
)
def test_it_says_what_it_needs(words: list[str], code: int, told: str) -> None:
    script = [sys.executable, "benchmarks/llava_small.py", *words]
    done = subprocess.run(script, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code and told in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_a_training_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(_ROOT))
    from benchmarks.llava_small import whole_training

    times = {"kept tokens": [2.0, 4.0], "grading": [1.0], "writing 4 answers": [40.0]}
    told = whole_training(
        SimpleNamespace(trainer=SimpleNamespace(max_epochs=3)), {"train": 42, "val": 60, "test": 80}, 4, times
    )
    # 30 steps of 3 s; four times 60 photographs at 8 a second; 80 answers of 10 s each, and their grades.
    assert told == {"training": 1.5, "validations and calibration": 0.5, "test, with answers of full length": 13.5,
                    "all": 15.5}  # fmt: skip
