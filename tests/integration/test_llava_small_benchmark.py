"""The script that measures the small LLaVA says what it needs, and adds up the parts of a training."""

from __future__ import annotations

import json
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


def test_a_tiny_network_is_measured(
    monkeypatch: pytest.MonkeyPatch, synthetic_idrid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from small_llava import write_language

    monkeypatch.syspath_prepend(str(_ROOT))
    from benchmarks import llava_small

    small = f"backbone.language={write_language(tmp_path / 'language')},backbone.input_size=64,backbone.image_tokens=4"
    words = [f"root={synthetic_idrid}", "batches=1", f"words={small},model.max_answer_tokens=4", f"out={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["llava_small.py", *words])
    threads = torch.get_num_threads()
    try:
        llava_small.main()
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "llava_small.json").read_text())
    step, grading = found["results"]
    assert step["ratio"] > 0 and step["details"]["batch"] == 4 and len(step["details"]["tokens"]) == 1
    assert grading["ratio"] > 0 and set(grading["seconds"]) == {"grading", "writing 4 answers"}
    assert found["training"]["on idle cores"]["all"] >= 0 and "one training, minutes" in capsys.readouterr().out
