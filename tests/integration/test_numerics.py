"""Numbers through the public commands: what is refused because its arithmetic would fail, and what is not fitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retinai.cli import main
from retinai.modules.load import load_module

Command = Callable[..., int]
LLAVA = ["model=llava", "backbone=llava_tiny", "model.max_answer_tokens=2", "model.gradient_checkpointing=false"]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Return a function that trains, checks that it was refused well, and returns what was said."""

    def run(*words: str) -> str:
        outputs = tmp_path / "outputs"
        with pytest.raises(SystemExit) as end:
            main(["train", "data=synthetic", *words, f"paths.outputs={outputs}", f"paths.cache={tmp_path / 'cache'}"])
        said = capsys.readouterr().err
        assert end.value.code == 2 and "Traceback" not in said and not outputs.exists()
        return said

    return run


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
@pytest.mark.parametrize("words", [["backbone=resnet18"], LLAVA], ids=["classifier", "llava"])
def test_weights_in_sixteen_bits_are_refused(words: list[str], precision: str, refused: Callable[..., str]) -> None:
    said = refused(*words, f"trainer.precision={precision}")
    assert precision.replace("true", "mixed") in said and "adapters" in said


def test_free_text_gets_no_temperature_and_says_why(
    command: Command, synthetic_aptos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *LLAVA, "model.grading=generate", "data=aptos", f"data.root={synthetic_aptos}", "data.limit=12",
        "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1",
        "trainer.limit_val_batches=1", "logger=none", "test=false", f"run_dir={tmp_path / 'run'}",
        f"paths.cache={tmp_path / 'cache'}",
    ]  # fmt: skip
    assert command("train", *words) == 0
    assert "no temperature" in capsys.readouterr().err
    assert load_module(tmp_path / "run" / "checkpoints" / "best.ckpt").calibration is None
