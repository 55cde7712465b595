"""A loss of one's own: a class of this file, named in the configuration, trained and evaluated by the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from small_network import SMALL_NETWORK
from torch import Tensor

from retinai.encoders.checkpoint_io import AtomicCheckpointIO
from retinai.losses.base import Criterion
from retinai.modules.load import load_module


class BrierScore(Criterion):
    """Mean squared difference of probabilities and one-hot targets, plus a scale of the logits that it learns itself.

    Args:
        sharpness: First scale of the logits.
        **options: Of `Criterion`.
    """

    target_types: ClassVar[tuple[str, ...]] = ("index",)

    def __init__(self, sharpness: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.sharpness = torch.nn.Parameter(torch.tensor(sharpness))

    def probabilities(self, logits: Tensor) -> Tensor:
        return super().probabilities(logits * self.sharpness)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        truth = torch.nn.functional.one_hot(targets, self.task.num_classes)
        return (self.probabilities(logits) - truth).square().sum(dim=1).mean()


def test_a_loss_of_ones_own_is_trained_and_evaluated(
    synthetic_aptos: Path, tmp_path: Path, command: Callable[..., int]
) -> None:
    run, places = tmp_path / "run", [f"paths.outputs={tmp_path}", f"paths.cache={tmp_path / 'cache'}"]
    words = [
        "data=aptos", f"data.root={synthetic_aptos}", "data.num_workers=0",
        *SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1", "logger=none",
        f"run_dir={run}",
        "loss=coral", f"loss._target_={__name__}.BrierScore", "loss.name=brier", "+loss.sharpness=2.0",
    ]  # fmt: skip
    assert command("train", *words, *places) == 0
    module = load_module(run / "checkpoints" / "best.ckpt")
    assert type(module.criterion).__name__ == "BrierScore" and module.criterion.num_outputs == 5
    assert module.criterion.sharpness.item() not in (1.0, 2.0)  # trained, and read back
    assert json.loads((run / "run.json").read_text())["loss"] == "brier"
    out = tmp_path / "evaluation"
    words = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", "split=val", f"run_dir={out}", "accelerator=cpu"]
    assert command("evaluate", *words, *places) == 0
    assert 0 <= json.loads((out / "metrics.json").read_text())["accuracy"]["value"] <= 1


def test_a_loss_that_nobody_imported_is_not_imported_for_a_checkpoint(
    tiny_checkpoint: Path, tmp_path: Path, command: Callable[..., int], capsys: Any
) -> None:
    content = torch.load(tiny_checkpoint, weights_only=True)
    content["retinai"]["hparams"]["loss"] = {"_target_": "test_nowhere.Loss", "name": "own"}
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "own.ckpt")
    words = [f"ckpt={tmp_path / 'own.ckpt'}", f"paths.outputs={tmp_path}", f"paths.cache={tmp_path / 'cache'}"]
    assert command("evaluate", *words) == 2
    assert "RETINAI_PLUGINS=test_nowhere" in capsys.readouterr().err
