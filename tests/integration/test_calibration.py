"""Temperature and operating points through the commands: training keeps them, everything after uses them."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import forked
import numpy as np
import pandas as pd
import pytest
import torch
from small_network import SMALL_NETWORK

from retinai.metrics.decisions import decide
from retinai.modules.checkpoint import store_calibration
from retinai.modules.load import load_module
from retinai.prediction.calibration.temperature import scale

Command = Callable[..., int]

# Runs `retinai train` and kills its own process while the calibrated checkpoint is half written.
_KILLED_RUN = """
import os, pathlib, signal
import torch
torch.set_num_threads(1)
import retinai.modules.checkpoint as checkpoint
store = checkpoint.store_calibration
def killed(*args):
    whole = pathlib.Path.write_bytes
    def half(self, data):
        whole(self, bytes(data)[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    pathlib.Path.write_bytes = half
    return store(*args)
checkpoint.store_calibration = killed
from retinai.cli import main
main()
"""


def words(root: Path, run: Path, *more: str) -> list[str]:
    text = f"""train data=aptos data.root={root} data.val_fraction=0.4 data.num_workers=0 {" ".join(SMALL_NETWORK)}
        backbone.input_size=32 loss=corn trainer=cpu trainer.max_epochs=1 logger=none
        run_dir={run} paths.cache={run.parent / "cache"}"""
    return [*text.split(), *more]


@pytest.fixture(scope="module")
def run(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A run with 20 or more validation photographs, decided by the median."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    assert command(*words(synthetic_aptos, folder)) == 0
    return folder


def test_training_keeps_a_calibration_and_every_command_uses_it(run: Path, command: Command, tmp_path: Path) -> None:
    best = run / "checkpoints" / "best.ckpt"
    calibration = torch.load(best, weights_only=True)["retinai"]["calibration"]
    module = load_module(best)
    checked = calibration["cross_validation"]
    assert module.calibration == calibration
    assert calibration["temperature"] == (checked["fitted"] if checked["shown"] else 1) and checked["fitted"] != 1
    assert calibration["n"] >= 20 and set(calibration["operating_points"]) >= {"sensitivity_90", "youden"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["calibration"]["temperature"] == calibration["temperature"]
    assert json.loads((run / "run.json").read_text())["metrics"]["calibration"] == metrics["calibration"]
    assert "Calibration and operating points" in (run / "report.html").read_text()

    again = tmp_path / "again"
    place = [f"run_dir={again}", f"paths.cache={tmp_path / 'cache'}", "num_workers=0", "accelerator=cpu"]
    assert command("evaluate", f"ckpt={best}", *place) == 0
    assert json.loads((again / "metrics.json").read_text()) == metrics

    tested = pd.read_csv(run / "predictions.csv", dtype={"id": str}).set_index("id")
    folder = Path(tested["path"].iloc[0]).parent
    out = tmp_path / "grades.csv"
    loose = [f"ckpt={best}", f"images={folder}", f"out={out}", "num_workers=0", "accelerator=cpu"]
    assert command("predict", *loose) == 0
    mine = pd.read_csv(out, dtype={"id": str}).set_index("id").loc[tested.index]
    np.testing.assert_allclose(mine.filter(like="p_"), tested.filter(like="p_"), atol=1e-5)
    assert (mine["prediction"] == tested["prediction"]).all()
    # The grade is the median of the probabilities beside it, in both tables.
    for table in (mine, tested):
        assert decide(table.filter(like="p_").to_numpy(), "median").tolist() == table["prediction"].tolist()

    plain = tmp_path / "plain.ckpt"
    plain.write_bytes(best.read_bytes())
    assert store_calibration(plain, None) and not store_calibration(plain, None)
    assert command("predict", f"ckpt={plain}", *loose[1:], "overwrite=true") == 0
    raw = pd.read_csv(out, dtype={"id": str}).set_index("id").loc[tested.index]
    assert (raw["prediction"] == tested["prediction"]).all()
    soft = scale(raw.filter(like="p_").to_numpy(), calibration["temperature"], "cumulative")
    np.testing.assert_allclose(soft, tested.filter(like="p_"), atol=1e-5)
    assert store_calibration(plain, {**calibration, "temperature": 1.7})  # whatever these few photographs gave
    assert command("predict", f"ckpt={plain}", *loose[1:], "overwrite=true") == 0
    softer = pd.read_csv(out, dtype={"id": str}).set_index("id").loc[tested.index]
    expected = scale(raw.filter(like="p_").to_numpy(), 1.7, "cumulative")
    np.testing.assert_allclose(softer.filter(like="p_"), expected, atol=1e-5)


def test_a_run_killed_while_it_calibrates_ends_the_same(run: Path, synthetic_aptos: Path, command: Command) -> None:
    cut = run.parent / "cut"
    arguments = words(synthetic_aptos, cut)
    code, said = forked.finish(_KILLED_RUN, arguments)
    assert code == -signal.SIGKILL, said
    assert load_module(cut / "checkpoints" / "best.ckpt").calibration is None  # whole, as training left it
    assert len(list((cut / "checkpoints").glob(".best.*.ckpt"))) == 1
    assert command(*arguments, "resume=true") == 0
    assert sorted(p.name for p in (cut / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    kept = [load_module(folder / "checkpoints" / "best.ckpt").calibration for folder in (run, cut)]
    assert kept[0] == kept[1] and kept[0] is not None
    assert (run / "metrics.json").read_bytes() == (cut / "metrics.json").read_bytes()


def test_it_can_be_left_out_and_too_little_is_told(
    tiny_runs: list[Path], run: Path, command: Command, synthetic_aptos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = run.parent / "without"
    assert command(*words(synthetic_aptos, without, "calibrate=false", "test=false")) == 0
    assert load_module(without / "checkpoints" / "best.ckpt").calibration is None
    # The shared runs have a handful of validation photographs.
    assert load_module(tiny_runs[0] / "checkpoints" / "best.ckpt").calibration is None
    assert "no temperature, no operating points" in (tiny_runs[0] / "report.html").read_text()
