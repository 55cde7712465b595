"""A study of score and cost: the Pareto front in the record, on the terminal and in the report; going on with it."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from retinai.modules.load import load_module
from retinai.sweeps.study import open_study

Command = Callable[..., int]
TINY = ["data=aptos", "data.num_workers=0", "data.limit=12", "data.batch_size=4", "backbone=resnet18",
        "backbone.weights=none", "trainer=cpu", "trainer.max_epochs=1", "logger=none", "calibrate=false",
        "test=false"]  # fmt: skip
SPACE = ["backbone.architecture=test_resnet,test_efficientnet", "optimizer.lr=tag(log, interval(1e-4, 1e-2))"]
STUDY = ["hydra/sweeper=optuna", "study=both", "hydra.sweeper.objectives=[score,parameters_m,latency_ms]"]


def test_the_front_of_score_and_cost(
    synthetic_aptos: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"paths.outputs={tmp_path / 'outputs'}", f"paths.cache={tmp_path / 'cache'}"]
    words = [*TINY, "backbone.input_size=32", *places, f"data.root={synthetic_aptos}"]
    assert command("train", "-m", *words, *SPACE, *STUDY, "hydra.sweeper.n_trials=5") == 0
    said = capsys.readouterr()
    assert "several objectives: no trial is stopped early" in said.err
    folder = tmp_path / "outputs" / "sweeps" / "both"
    trials = open_study(folder).trials
    for trial in trials:
        told = json.loads((folder / "states" / f"{trial.number}.json").read_text())
        module = load_module(folder / str(trial.number) / "checkpoints" / "best.ckpt")
        assert trial.values == told["values"] and trial.values[0] == told["score"] and trial.values[2] > 0
        assert trial.values[1] == sum(p.numel() for p in module.parameters()) / 1e6
        assert not trial.intermediate_values
    by_hand = [t.number for t in trials if not any(_better(other.values, t.values) for other in trials)]
    assert [int(n) for n in re.findall(r"best: trial (\d+), ", said.out)] == by_hand
    page = (folder / "report.html").read_text()
    assert "Best trials (Pareto front)" in page and "5 of 5 finished" in page
    figures = [base64.b64decode(text) for text in re.findall(r"data:image/png;base64,([\w+/=]+)", page)]
    assert len(figures) >= 1 + 3 + 2  # the front, a search each, importances of what differs
    assert all(Image.open(io.BytesIO(figure)).width > 300 for figure in figures)

    assert command("train", "-m", *STUDY[:2], *places, "hydra.sweeper.n_trials=6") == 2
    assert "is a study with other objectives" in capsys.readouterr().err
    assert command("train", "-m", *STUDY, *places, "hydra.sweeper.n_trials=6") == 0
    assert len(open_study(folder).trials) == 6


def _better(one: list[float], other: list[float]) -> bool:
    """Return whether one trial is at least as good in everything and better in something: more score, less cost."""
    signed = [(-one[0], *one[1:]), (-other[0], *other[1:])]
    return all(a <= b for a, b in zip(*signed, strict=True)) and signed[0] != signed[1]
