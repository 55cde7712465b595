"""`kill -9` at any moment, then `resume=true`: the run ends as if it had been in one piece."""

from __future__ import annotations

import signal
from pathlib import Path

import forked
import pandas as pd
import pytest
import torch
from small_network import SMALL_NETWORK

from retinai.cli import main

# Runs `retinai train` and kills its own process, as hard as the system can, at one moment.
_KILLED_RUN = """
import os, pathlib, signal, sys

moment, epoch = sys.argv.pop(1), int(sys.argv.pop(1))

def die():
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "write":
    whole = pathlib.Path.write_bytes
    def half(self, data):
        if self.name.startswith(".last.") and int(trainer_epoch()) == epoch:
            whole(self, bytes(data)[: len(data) // 2])
            die()
        return whole(self, data)
    pathlib.Path.write_bytes = half
    def trainer_epoch():
        return (pathlib.Path(os.environ["RUN"]) / "metrics.csv").read_text().count("\\n") - 2
else:
    from retinai.modules.classifier import Classifier
    name = moment + "_step"
    step = getattr(Classifier, name)
    def killed(self, batch, batch_idx):
        if self.current_epoch == epoch:
            die()
        return step(self, batch, batch_idx)
    setattr(Classifier, name, killed)

import torch
torch.set_num_threads(1)
from retinai.cli import main
main()
"""


def words(root: Path, run_dir: Path, cache: Path) -> list[str]:
    text = f"""train data=aptos data.root={root} data.batch_size=12 data.num_workers=0 {" ".join(SMALL_NETWORK)}
        backbone.input_size=32 model.dropout=0.3 trainer=cpu trainer.max_epochs=3
        logger=none seed=3 run_dir={run_dir} paths.cache={cache}"""
    return text.split()


def run_here(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0


def run_and_die(arguments: list[str], moment: str, epoch: int, run_dir: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUN", str(run_dir))
        code, said = forked.finish(_KILLED_RUN, [moment, str(epoch), *arguments])
    assert code == -signal.SIGKILL, said
    return said


def test_a_killed_run_goes_on_and_ends_the_same(
    synthetic_aptos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut, cache = tmp_path / "whole", tmp_path / "cut", tmp_path / "cache"
    run_here(words(synthetic_aptos, whole, cache))
    arguments = words(synthetic_aptos, cut, cache)

    run_and_die(arguments, "training", 0, cut)
    assert not (cut / "checkpoints" / "last.ckpt").exists()
    said = run_and_die([*arguments, "resume=true"], "validation", 1, cut)
    assert "starts at the first epoch" in said
    run_and_die([*arguments, "resume=true"], "write", 2, cut)
    assert len(list((cut / "checkpoints").glob(".last.*.ckpt"))) == 1  # torn in the middle of a write
    capsys.readouterr()
    run_here([*arguments, "resume=true"])
    assert "resume: going on from" in capsys.readouterr().out

    assert sorted(p.name for p in (cut / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    for name in ("last.ckpt", "best.ckpt"):
        want, got = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (whole, cut))
        assert want["epoch"] == got["epoch"]
        assert want["state_dict"].keys() == got["state_dict"].keys()
        assert all(torch.equal(want["state_dict"][key], got["state_dict"][key]) for key in want["state_dict"]), name
    tables = [pd.read_csv(run / "metrics.csv").drop(columns="seconds") for run in (whole, cut)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    for name in ("metrics.json", "predictions.csv", "split.csv"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name

    # A finished run has nothing left to train; it is only tested again.
    before = (cut / "checkpoints" / "last.ckpt").read_bytes(), (cut / "metrics.csv").read_bytes()
    run_here([*arguments, "resume=true"])
    assert ((cut / "checkpoints" / "last.ckpt").read_bytes(), (cut / "metrics.csv").read_bytes()) == before
    assert (whole / "metrics.json").read_bytes() == (cut / "metrics.json").read_bytes()
