"""What Lightning and PyTorch refuse once they train: a sentence and code 2, and `run.json` says that it failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

LIGHTNING = "lightning.pytorch.callbacks"
REFUSED = {
    f"+callbacks.x={{_target_:{LIGHTNING}.LearningRateMonitor}}": "LearningRateMonitor",
    f"+callbacks.x={{_target_:{LIGHTNING}.DeviceStatsMonitor}}": "DeviceStatsMonitor",
    f"+callbacks.x={{_target_:{LIGHTNING}.ModelCheckpoint,monitor:nope}}": "nope",
    f"+callbacks.x={{_target_:{LIGHTNING}.EarlyStopping,monitor:nope}}": "metric `nope` which is not available",
    f"+callbacks.x={{_target_:{LIGHTNING}.ModelPruning,pruning_fn:l1_unstructured}}": "ModelPruning failed in this",
    f"+callbacks.x={{_target_:{LIGHTNING}.RichProgressBar}}": "RichProgressBar",
    "+callbacks.x={_target_:own_callbacks.FailsInSetup}": "own_callbacks.FailsInSetup failed in this training (KeyErr",
    "+callbacks.x={_target_:own_callbacks.TakesNothing}": "own_callbacks.TakesNothing failed in this training (TypeErr",
    "data.batch_size=1": "batch norm cannot learn from one value per channel",
}


OWN = """
from lightning.pytorch import Callback

class FailsInSetup(Callback):
    def setup(self, trainer, pl_module, stage):
        raise KeyError("no such layer")

class TakesNothing(Callback):
    def teardown(self):
        pass

class CannotBeBuilt(Callback):
    def __init__(self):
        raise RuntimeError("no such service")
"""


@pytest.fixture(autouse=True)
def own_callbacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes of a user's own."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own_callbacks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "own")


@pytest.fixture
def words(synthetic_aptos: Path, tmp_path: Path) -> list[str]:
    return [
        "train", "data=aptos", f"data.root={synthetic_aptos}", "data.near_duplicates=false", "data.num_workers=0",
        "data.batch_size=8", "backbone=resnet18", "backbone.weights=none", "backbone.architecture=test_resnet",
        "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1", "logger=none", "test=false", "calibrate=false",
        f"run_dir={tmp_path / 'run'}", f"paths.cache={tmp_path / 'cache'}",
    ]  # fmt: skip


@pytest.mark.parametrize("word", REFUSED)
def test_it_is_one_sentence(
    word: str, words: list[str], command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*words, word) == 2
    said = capsys.readouterr().err
    assert REFUSED[word] in said[said.index("error: ") :] and "Traceback" not in said, said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


def test_whole_numbers_are_betas_too(words: list[str], command: Callable[..., int]) -> None:
    assert command(*words, "optimizer.betas=[0,0]", "scheduler=constant") == 0


def test_a_callback_that_cannot_be_built_leaves_nothing(
    words: list[str], command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*words, "+callbacks.x={_target_:own_callbacks.CannotBeBuilt}") == 2
    said = capsys.readouterr().err
    assert "callbacks.x cannot be built with these values: no such service" in said and "Traceback" not in said
    assert not (tmp_path / "run").exists()
