"""Runs that the tests of the commands share: a tiny grader, cross-validated in two folds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def command() -> Callable[..., int]:
    """Return a function that runs `retinai <words>` in this process and gives its exit code."""
    from retinai.cli import main

    def run(*words: str | Path) -> int:
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        return int(left.value.code or 0)

    return run


@pytest.fixture(scope="session")
def tiny_runs(
    tmp_path_factory: pytest.TempPathFactory, synthetic_aptos: Path, command: Callable[..., int]
) -> list[Path]:
    """Folders of two finished runs, fold 0 and fold 1 of the same cross-validation."""
    outputs = tmp_path_factory.mktemp("outputs")
    folders = [outputs / f"fold{fold}" for fold in (0, 1)]
    for fold, folder in enumerate(folders):
        words = [
            "data=aptos", f"data.root={synthetic_aptos}", "data.folds=2", f"data.fold={fold}", "data.num_workers=0",
            "backbone=resnet18", "backbone.weights=none", "backbone.input_size=32", "trainer=cpu",
            "trainer.max_epochs=1", "logger=none", f"run_dir={folder}", f"paths.outputs={outputs}",
            f"paths.cache={outputs / 'cache'}",
        ]  # fmt: skip
        assert command("train", *words) == 0
    return folders


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_runs: list[Path]) -> Path:
    """A checkpoint of task dr_grade."""
    return tiny_runs[0] / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="session")
def tiny_export(tiny_checkpoint: Path, command: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint as a folder for ONNX Runtime."""
    out, outputs = tmp_path_factory.mktemp("exported") / "folder", tiny_checkpoint.parents[2]
    places = [f"out={out}", f"paths.outputs={outputs}", f"paths.cache={outputs / 'cache'}", "num_workers=0"]
    assert command("export", f"ckpt={tiny_checkpoint}", *places) == 0
    return out
