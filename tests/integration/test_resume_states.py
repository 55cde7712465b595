"""A `last.ckpt` whose states of training are not those of the run: one sentence, and the run is left as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from retinai.encoders.checkpoint_io import AtomicCheckpointIO

Change = Callable[[dict[str, Any]], object]
# Their hash is made anew, so that nothing but what they say is wrong.
DAMAGES: dict[str, Change] = {
    "no optimisers": lambda c: c.pop("optimizer_states"),
    "another optimiser": lambda c: c["optimizer_states"][0].update(param_groups=[]),
    "no loops": lambda c: c.pop("loops"),
    "text for callbacks": lambda c: c.update(callbacks="text"),
    "text for the epoch": lambda c: c["loops"].update(fit_loop="text"),
    "no version": lambda c: c.pop("pytorch-lightning_version"),
}


@pytest.fixture
def run(tiny_runs: list[Path], tmp_path: Path) -> Path:
    """A finished run of one epoch, whose configuration asks for more."""
    folder = Path(shutil.copytree(tiny_runs[0], tmp_path / "run"))
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("max_epochs: 1\n", "max_epochs: 9\n"))
    return folder


@pytest.mark.parametrize("change", [*DAMAGES.values(), lambda c: None], ids=[*DAMAGES, "a longer schedule"])
def test_they_are_refused(
    run: Path, change: Change, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    last = run / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    change(content)
    AtomicCheckpointIO().save_checkpoint(content, last)
    before = last.read_bytes()
    assert command("train", "resume=true", f"run_dir={run}") == 2
    error = capsys.readouterr().err
    sentence = error[error.index("error: ") :]
    assert "last.ckpt" in sentence and "+init=ckpt" in sentence and "Traceback" not in error, error
    assert last.read_bytes() == before


def test_a_finished_run_without_its_last_checkpoint_is_not_begun_anew(
    run: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "checkpoints" / "last.ckpt").unlink()
    before = (run / "checkpoints" / "best.ckpt").read_bytes()
    assert command("train", "resume=true", f"run_dir={run}") == 2
    assert "last.ckpt is missing, though the run has finished (1 epochs)" in capsys.readouterr().err
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == before


@pytest.mark.parametrize("kind", ["a folder", "a pipe"])
def test_something_else_in_its_place_is_told(
    run: Path, kind: str, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    last = run / "checkpoints" / "last.ckpt"
    last.unlink()
    last.mkdir() if kind == "a folder" else os.mkfifo(last)
    assert command("train", "resume=true", f"run_dir={run}") == 2
    error = capsys.readouterr().err
    assert "last.ckpt is no file" in error and "Traceback" not in error
