"""Which start weights a run takes when it goes on after it was stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from retinai.config.compose import compose
from retinai.errors import UserError
from retinai.modules.init import start_checkpoint


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run folder that was begun with `+init=ckpt init.path=first.ckpt` and has no checkpoint yet."""
    (tmp_path / "checkpoints").mkdir()
    cfg = compose("train", ["+init=ckpt", "init.path=first.ckpt"])
    OmegaConf.save(cfg, tmp_path / "config.yaml", resolve=True)
    return tmp_path


def start(folder: Path, *words: str) -> Path | None:
    return start_checkpoint(compose("train", [f"run_dir={folder}", "resume=true", *words]), folder)


def test_a_run_without_a_checkpoint_begins_again_with_its_start_weights(begun: Path) -> None:
    assert start(begun, "+init=ckpt", "init.path=first.ckpt") == Path("first.ckpt")
    for words in ([], ["+init=ckpt", "init.path=other.ckpt"], ["+init=idrid_ckpt"]):
        with pytest.raises(UserError, match=r"begun with init\.path=first\.ckpt"):
            start(begun, *words)


def test_a_run_with_a_checkpoint_goes_on_from_it(begun: Path) -> None:
    (begun / "checkpoints" / "last.ckpt").touch()
    assert start(begun, "+init=ckpt", "init.path=first.ckpt") is None
    assert start(begun) is None
    with pytest.raises(UserError, match=r"is given init\.path=other\.ckpt"):
        start(begun, "+init=ckpt", "init.path=other.ckpt")


def test_a_run_that_began_without_start_weights_takes_none_later(tmp_path: Path) -> None:
    OmegaConf.save(compose("train", []), tmp_path / "config.yaml", resolve=True)
    assert start(tmp_path) is None
    with pytest.raises(UserError, match=r"begun with no \+init=, and resume=true is given \+init=idrid_ckpt"):
        start(tmp_path, "+init=idrid_ckpt")
