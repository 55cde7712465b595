"""A training says once what of patients W&B gets, and by default that is nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_network import SMALL_NETWORK

Command = Callable[..., int]


def test_the_notes_say_what_leaves_the_machine(
    synthetic_aptos: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "data=aptos", f"data.root={synthetic_aptos}", "data.num_workers=0",
        *SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1",
        "trainer.limit_train_batches=1", "test=false", "calibrate=false", f"run_dir={tmp_path / 'run'}",
        f"paths.cache={tmp_path / 'cache'}",
    ]  # fmt: skip
    assert command("train", *words) == 0
    said = capsys.readouterr().err
    assert said.count("note: W&B gets settings and metrics; not thumbnails, ids and patients") == 1
    assert not list((tmp_path / "run" / "wandb").glob("artifacts/**/*.ckpt"))
    assert command("train", *words[:-2], f"run_dir={tmp_path / 'no'}", "logger.photographs=maybe") == 2
    assert "logger.photographs=maybe is not allowed (valid: true, false)" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
