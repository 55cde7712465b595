"""What docs/foundation.md tells a user of RETFound: from their file and class folders to figures with intervals."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch

Command = Callable[..., int]
# One block and 32 pixels instead of 24 and 224.
SMALL = ["backbone.arguments={depth: 1}", "backbone.input_size=32"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as RETFound's owners write it: encoder and decoder, optimiser, and the words of their command."""
    torch.manual_seed(0)
    net = timm.create_model("vit_large_patch16_224", num_classes=0, img_size=32, depth=1)
    decoder = {"mask_token": torch.zeros(1, 1, 512), "decoder_embed.weight": torch.zeros(512, 1024)}
    file = tmp_path_factory.mktemp("weights") / "RETFound_mae_natureCFP.pth"
    words = argparse.Namespace(model="mae_vit_large_patch16", epochs=800)
    torch.save({"model": net.state_dict() | decoder, "optimizer": {}, "epoch": 799, "args": words}, file)
    return file


@pytest.fixture(scope="module")
def folders(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders as RETFound's users have them."""
    root = tmp_path_factory.mktemp("mine")
    labels = pd.read_csv(synthetic_aptos / "train.csv", dtype=str)
    for number, (name, grade) in enumerate(zip(labels["id_code"], labels["diagnosis"], strict=True)):
        place = root / ("train", "train", "val", "test")[number % 4] / ("anoDR" if grade == "0" else "bDR")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(synthetic_aptos / "train_images" / f"{name}.png", place)
    return root


def test_the_first_hour_of_a_user_of_retfound(weights: Path, folders: Path, tmp_path: Path, command: Command) -> None:
    backbone = ["backbone=retfound", f"backbone.weights={weights}", *SMALL]
    data = ["data=folder", f"data.root={folders}"]
    places = [f"paths.outputs={tmp_path}", f"paths.cache={tmp_path / 'cache'}"]
    quick = ["data.num_workers=0", "trainer=cpu", "trainer.max_epochs=1", "logger=none"]
    assert command("train", *backbone, "tuning=lora", *data, *quick, f"run_dir={tmp_path / 'tuned'}", *places) == 0
    tuned = json.loads((tmp_path / "tuned" / "metrics.json").read_text())
    file = tmp_path / "retfound.npz"
    assert command("embed", *backbone, *data, f"out={file}", "num_workers=0", *places) == 0
    assert command("probe", f"embeddings={file}", *data, f"run_dir={tmp_path / 'probed'}", *places) == 0
    probed = json.loads((tmp_path / "probed" / "metrics.json").read_text())
    for metrics in (tuned, probed):
        assert metrics["task"]["classes"] == ["anoDR", "bDR"] and metrics["n"] == tuned["n"]
        assert metrics["auroc"]["low"] <= metrics["auroc"]["value"] <= metrics["auroc"]["high"]
    assert "forbids commercial use" in (tmp_path / "tuned" / "report.html").read_text()
