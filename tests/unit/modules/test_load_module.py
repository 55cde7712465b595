"""Checkpoints: used without a config folder, and every bad one refused in one sentence."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from module_factory import fit, make_classifier, make_loader, section, write

from retinai.errors import CheckpointError
from retinai.modules.load import load_module
from retinai.tasks.known import DME_RISK, DR_GRADE

PACKAGE = section("backbone", "efficientnet_lite0", input_size=32)


def save(module: Any, folder: Path) -> Path:
    module.describe_data({"name": "aptos", "root": "somewhere"}, model="classifier")
    fit(module, 1, [ModelCheckpoint(folder, filename="best")])
    return folder / "best.ckpt"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(make_classifier(), tmp_path_factory.mktemp("full"))


def test_the_checkpoint_holds_plain_values_and_loads_by_default(checkpoint: Path) -> None:
    extras = torch.load(checkpoint)["retinai"]
    assert extras["format"] == 3 and extras["target"] == "retinai.modules.classifier.Classifier"
    assert extras["task"] == DR_GRADE.to_dict() and extras["preprocessing"]["input_size"] == 32
    assert (extras["backbone"], extras["model"], extras["data"]["name"]) == ("resnet18", "classifier", "aptos")
    module = load_module(checkpoint, DR_GRADE)
    assert not module.training and module.data_config["root"] == "somewhere"


@pytest.mark.parametrize("tuning", ["head", "partial"])
def test_frozen_weights_that_can_be_had_again_are_left_out(tmp_path: Path, tuning: str) -> None:
    module = make_classifier(backbone=PACKAGE, tuning=section("tuning", tuning))
    path = save(module, tmp_path)
    content = torch.load(path)
    assert content["retinai"]["frozen"]["sha256"] and not set(content["state_dict"]) & module.frozen_keys
    loaded = load_module(path)
    batch = next(iter(make_loader()))
    assert torch.equal(loaded.predict_step(batch)["probability"], module.eval().predict_step(batch)["probability"])
    content["retinai"]["frozen"]["sha256"] = "0" * 64
    write(content, path)
    with pytest.raises(CheckpointError, match="differ from the ones it was trained with"):
        load_module(path)


def test_frozen_weights_that_cannot_be_had_again_are_kept(tmp_path: Path) -> None:
    fresh = save(make_classifier(tuning=section("tuning", "head")), tmp_path / "fresh")
    assert "network.encoder.net.conv1.weight" in torch.load(fresh)["state_dict"]
    changed = make_classifier(backbone=PACKAGE, tuning=section("tuning", "head"))
    with torch.no_grad():
        changed.network.encoder.net.conv_stem.weight.mul_(2)  # as start weights of another run would
    path = save(changed, tmp_path / "changed")
    loaded = load_module(path)
    assert torch.equal(loaded.network.encoder.net.conv_stem.weight, changed.network.encoder.net.conv_stem.weight)


def test_another_task_is_refused_and_both_are_named(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"task dr_grade .*, but the data is of task dme_risk"):
        load_module(checkpoint, DME_RISK)


def test_bad_files_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_module(tmp_path / "none.ckpt")
    data = checkpoint.read_bytes()
    for size in (0, 10, 1000, len(data) // 2, len(data) - 100):
        part = tmp_path / "part.ckpt"
        part.write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=r"truncated|empty"):
            load_module(part)
    text = tmp_path / "text.ckpt"
    text.write_text("no checkpoint\n")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_module(text)
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(1)}}, foreign)
    with pytest.raises(CheckpointError, match="no retinai checkpoint"):
        load_module(foreign)


class Hostile:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.witness}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_is_refused_and_not_executed(tmp_path: Path, zipped: bool) -> None:
    witness, path = tmp_path / "witness", tmp_path / "hostile.ckpt"
    if zipped:
        torch.save({"retinai": Hostile(witness)}, path)
    else:
        path.write_bytes(pickle.dumps({"retinai": Hostile(witness)}))
    with pytest.raises(CheckpointError, match="refused and nothing was executed"):
        load_module(path)
    assert not witness.exists()


@pytest.mark.parametrize("target", ["os.system", "retinai.modules.load.Path", "retinai.tasks.task.Task"])
def test_a_target_outside_the_modules_is_not_called(checkpoint: Path, tmp_path: Path, target: str) -> None:
    content = torch.load(checkpoint)
    content["retinai"]["target"] = target
    write(content, tmp_path / "target.ckpt")
    with pytest.raises(CheckpointError, match=r"cannot be built|no module"):
        load_module(tmp_path / "target.ckpt")


def test_a_missing_trained_key_and_another_network_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint)
    weight = content["state_dict"].pop("network.head.weight")
    path = tmp_path / "changed.ckpt"
    write(content, path)
    with pytest.raises(CheckpointError, match=r"1 trained tensors are missing \(first 'network.head.weight'\)"):
        load_module(path)
    content["state_dict"]["network.head.weight"] = weight[:3]
    write(content, path)
    with pytest.raises(CheckpointError, match=r"another shape \(first 'network.head.weight': \(3, 512\)"):
        load_module(path)
