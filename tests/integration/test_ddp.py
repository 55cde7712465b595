"""Two processes train one run: one folder, one record, and the same validation as one process has."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from small_network import SMALL_NETWORK


def test_two_processes_share_one_run(
    synthetic_aptos: Path, tmp_path: Path, run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_cli(
        "train", "data=aptos", f"data.root={synthetic_aptos}", "data.num_workers=0", "data.batch_size=8",
        *SMALL_NETWORK, "backbone.input_size=32", "trainer=ddp",
        "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true", "trainer.max_epochs=1",
        "logger=none", f"paths.outputs={tmp_path / 'outputs'}", f"paths.cache={tmp_path / 'cache'}",
        cwd=tmp_path,
        timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "outputs").rglob("run.json")
    assert json.loads(record.read_text())["status"] == "finished"
    assert (record.parent / "metrics.json").exists()
    assert "16 (8 x 1 accumulated x 2 device(s))" in done.stdout
    # Each line of an epoch once, though two processes ran it.
    assert done.stdout.count("epoch 1/1") == 1


def test_two_processes_of_llava_learn_what_one_does(
    synthetic_aptos: Path,
    tmp_path: Path,
    command: Callable[..., int],
    run_cli: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    words = [
        "train", "model=llava", "backbone=llava_tiny", "data=aptos", f"data.root={synthetic_aptos}", "data.limit=2",
        "data.num_workers=0", "tuning.dropout=0", "optimizer.lr=1e-3", "trainer.max_epochs=1", "logger=none",
        "calibrate=false", "test=false", f"paths.cache={tmp_path / 'cache'}",
    ]  # fmt: skip
    # Dropout is off because each process draws its own.
    assert command(*words, "trainer=cpu", "trainer.accumulate_grad_batches=2", f"run_dir={tmp_path / 'one'}") == 0
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.accumulate_grad_batches=1")
    done = run_cli(*words, *two, f"run_dir={tmp_path / 'two'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = [tmp_path / run / "checkpoints" / "last.ckpt" for run in ("one", "two")]
    one, both = (torch.load(file, weights_only=True)["state_dict"] for file in files)
    assert one.keys() == both.keys()
    for key, value in one.items():
        torch.testing.assert_close(both[key], value, msg=key)
