"""Which start weights a run takes when it goes on after it was stopped."""

from __future__ import annotations

from pathlib import Path

from retinai.config.compose import compose
from retinai.run.start_checkpoint import start_checkpoint


def start(folder: Path, *words: str) -> Path | None:
    return start_checkpoint(compose("train", [f"run_dir={folder}", "resume=true", *words]), folder)


def test_a_run_without_a_checkpoint_begins_again_with_its_start_weights(tmp_path: Path) -> None:
    assert start(tmp_path, "+init=ckpt", "init.path=first.ckpt") == Path("first.ckpt")
    assert start(tmp_path) is None


def test_a_run_with_a_checkpoint_goes_on_from_it(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert start(tmp_path, "+init=ckpt", "init.path=first.ckpt") is None
