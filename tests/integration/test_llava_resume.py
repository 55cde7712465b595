"""A LLaVA's run that is killed and resumed ends with the adapters and projector of one in one piece."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import torch

# Runs `retinai train` and kills its own process, as hard as the system can, in the second epoch.
_KILLED_RUN = """
import os, signal
from retinai.llava.module import LlavaGrader

step = LlavaGrader.training_step

def killed(self, batch, batch_idx):
    if self.current_epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)

LlavaGrader.training_step = killed

import torch
torch.set_num_threads(1)
from retinai.cli import main
main()
"""


def test_a_killed_llava_goes_on_and_ends_the_same(
    synthetic_aptos: Path, tmp_path: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def words(run: str) -> list[str]:
        text = f"""train model=llava backbone=llava_tiny data=aptos data.root={synthetic_aptos} data.limit=2
            data.num_workers=0 tuning.dropout=0.3 optimizer.lr=1e-3 trainer=cpu trainer.accumulate_grad_batches=1
            trainer.max_epochs=2 logger=none calibrate=false test=false run_dir={tmp_path / run}
            paths.cache={tmp_path / "cache"}"""
        return text.split()

    assert command(*words("whole")) == 0
    code, said = forked.finish(_KILLED_RUN, words("cut"))
    assert code == -signal.SIGKILL, said
    capsys.readouterr()
    assert command(*words("cut"), "resume=true") == 0
    assert "resume: going on from" in capsys.readouterr().out

    files = [tmp_path / run / "checkpoints" / "last.ckpt" for run in ("whole", "cut")]
    want, got = (torch.load(file, weights_only=True) for file in files)
    assert want["epoch"] == got["epoch"] == 1
    assert want["state_dict"].keys() == got["state_dict"].keys()
    assert all(torch.equal(value, got["state_dict"][key]) for key, value in want["state_dict"].items())
