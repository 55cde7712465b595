"""The encoder of a trained checkpoint is the trained one, however its checkpoint keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from module_factory import fit, make_classifier, section, write
from safetensors.torch import save_file

from retinai.encoders.checkpoint_encoder import encoder_of_checkpoint
from retinai.encoders.encoder import build_encoder
from retinai.encoders.lora import merged
from retinai.errors import CheckpointError

TINY = {"name": "tiny", "architecture": "test_resnet", "weights": "none", "input_size": 32}
PACKAGE = section("backbone", "efficientnet_lite0", input_size=32)
PARTIAL = section("tuning", "partial", blocks=1)
LORA = {"_target_": "retinai.encoders.lora.LoraTuning", "name": "lora"}


def trained(folder: Path, **changes: Any) -> tuple[Any, Path]:
    """A module after an epoch, and its checkpoint."""
    module = make_classifier(**({"backbone": TINY} | changes))
    module.describe_data({"name": "aptos"}, model="classifier")
    fit(module, 1, [ModelCheckpoint(folder, filename="best")])
    return module.eval(), folder / "best.ckpt"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backbone": PACKAGE, "tuning": PARTIAL},
        {"backbone": PACKAGE, "tuning": LORA | {"norms": True}},
        {"tuning": LORA},
    ],
    ids=["whole", "frozen weights left out", "adapters on frozen weights left out", "adapters"],
)
def test_it_embeds_as_the_trained_network(tmp_path: Path, changes: dict[str, Any]) -> None:
    module, path = trained(tmp_path, **changes)
    encoder, images = encoder_of_checkpoint(path), torch.randn(2, 3, 32, 32)
    own = merged(module).network.encoder
    assert not encoder.training and encoder.preprocessing == module.preprocessing
    with torch.no_grad():
        assert torch.equal(encoder.embed(images), own.embed(images))
        assert torch.equal(encoder.feature_map(images), own.feature_map(images))
    start = build_encoder({**module.hparams["backbone"], "weights": str(path)})
    assert start.load_report is not None and len(start.load_report.matched) == len(own.state_dict())
    assert all(torch.equal(value, own.state_dict()[key]) for key, value in start.state_dict().items())


def test_a_checkpoint_of_another_architecture_or_without_an_encoder_is_refused(tmp_path: Path) -> None:
    _, path = trained(tmp_path)
    with pytest.raises(CheckpointError, match="do not fit this network"):
        build_encoder({"name": "r18", "architecture": "resnet18", "input_size": 32, "weights": str(path)})
    content = torch.load(path)
    content["retinai"]["hparams"]["backbone"] = section("backbone", "llava_tiny")
    with pytest.raises(
        CheckpointError, match=r"has no encoder.*built: it is of model=.*is no Encoder.*model=classifier"
    ):
        encoder_of_checkpoint(write(content, tmp_path / "llava.ckpt"))
    del content["retinai"]["hparams"]["backbone"]
    with pytest.raises(CheckpointError, match="it has no backbone section"):
        encoder_of_checkpoint(write(content, tmp_path / "none.ckpt"))
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="is no retinai checkpoint"):
        encoder_of_checkpoint(tmp_path / "w.safetensors")


def test_changed_tensors_and_another_base_are_refused(tmp_path: Path) -> None:
    _, path = trained(tmp_path)
    content = torch.load(path)
    key = next(key for key in content["state_dict"] if key.startswith("network.encoder."))
    value = content["state_dict"].pop(key)
    with pytest.raises(CheckpointError, match="1 tensors of its encoder are missing"):
        encoder_of_checkpoint(write(content, tmp_path / "less.ckpt"))
    content["state_dict"][key] = value[:1]
    with pytest.raises(CheckpointError, match="of another shape"):
        encoder_of_checkpoint(write(content, tmp_path / "shape.ckpt"))
    _, path = trained(tmp_path / "head", backbone=PACKAGE, tuning=section("tuning", "head"))
    content = torch.load(path)
    content["retinai"]["frozen"]["sha256"] = "0" * 64
    with pytest.raises(CheckpointError, match="differ from the ones it was trained with"):
        encoder_of_checkpoint(write(content, tmp_path / "other.ckpt"))
