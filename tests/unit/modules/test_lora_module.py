"""Classifiers with LoRA: what their checkpoints hold and check, resuming, start weights, teaching."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from module_factory import fit, make_classifier, make_loader, section, write

from retinai.callbacks.averaging import AveragedWeights
from retinai.distillation.teacher import load_teachers
from retinai.encoders.lora import is_adapter, merged
from retinai.errors import CheckpointError, ConfigError
from retinai.modules.load import load_module
from retinai.modules.warm_start import load_start_weights

LORA = {"_target_": "retinai.encoders.lora.LoraTuning", "name": "lora"}
PACKAGE = section("backbone", "efficientnet_lite0", input_size=32)


def make(**tuning: Any) -> Any:
    return make_classifier(backbone=PACKAGE, tuning=LORA | tuning)


def save(module: Any, folder: Path, epochs: int = 1, name: str = "best") -> Path:
    module.describe_data({"name": "aptos", "root": "somewhere"}, model="classifier")
    fit(module, epochs, [ModelCheckpoint(folder, filename=name, save_top_k=-1)])
    return folder / f"{name}.ckpt"


def probability(module: Any) -> torch.Tensor:
    return module.eval().predict_step(next(iter(make_loader())))["probability"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch of adapters on the weights of the pip package."""
    return save(make(), tmp_path_factory.mktemp("lora"))


@pytest.mark.parametrize("norms", [False, True])
def test_a_checkpoint_holds_adapters_head_and_norms_that_train(tmp_path: Path, norms: bool) -> None:
    module = make(norms=norms)
    path = save(module, tmp_path)
    content = torch.load(path)
    kept = content["state_dict"]
    assert content["retinai"]["frozen"]["sha256"]
    others = {k for k in kept if not is_adapter(k) and ".head." not in k}
    assert all(".bn" in k for k in others) and bool(others) is norms
    trained = {n for n, p in module.named_parameters() if p.requires_grad}
    assert trained <= set(kept) and path.stat().st_size < 12e6
    assert torch.equal(probability(load_module(path)), probability(module))


def test_another_base_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint)
    content["retinai"]["frozen"]["sha256"] = "0" * 64
    path = tmp_path / "other.ckpt"
    write(content, path)
    with pytest.raises(CheckpointError, match="differ from the ones it was trained with"):
        load_module(path)
    content["retinai"]["hparams"]["tuning"]["rank"] = 4
    content["retinai"]["frozen"] = torch.load(checkpoint)["retinai"]["frozen"]
    write(content, path)
    with pytest.raises(CheckpointError, match="of another shape"):
        load_module(path)


def test_a_base_that_cannot_be_had_again_is_kept(tmp_path: Path) -> None:
    module = make_classifier(tuning=LORA)
    path = save(module, tmp_path)
    content = torch.load(path)
    assert content["retinai"]["frozen"] is None
    assert "network.encoder.net.layer1.0.conv1.base_layer.weight" in content["state_dict"]
    assert torch.equal(probability(load_module(path)), probability(module))


def test_the_first_weights_come_from_the_seed() -> None:
    first, again, other = make(), make(), make_classifier(backbone=PACKAGE, tuning=LORA, seed=1)
    keys = [key for key in first.state_dict() if ".lora_A." in key]
    assert keys and all(torch.equal(first.state_dict()[k], again.state_dict()[k]) for k in keys)
    assert not any(torch.equal(first.state_dict()[k], other.state_dict()[k]) for k in keys)


@pytest.mark.parametrize("averaging", [False, True])
def test_a_resumed_run_equals_one_in_one_piece(tmp_path: Path, averaging: bool) -> None:
    def extra() -> list[Any]:
        return [AveragedWeights(decay=0.8)] if averaging else []

    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    whole, resumed = make(), make()
    start = {key: value.clone() for key, value in whole.state_dict().items()}
    fit(whole, 2, [saver, *extra()])
    fit(resumed, 2, extra(), resume=tmp_path / "epoch=0.ckpt")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
        assert torch.equal(value, start[key]) == (key in whole.frozen_keys), key
    assert torch.load(tmp_path / "epoch=1.ckpt")["retinai"]["frozen"], "averaging changed the frozen weights"


def test_adapters_of_the_same_shape_go_on(checkpoint: Path) -> None:
    module = make()
    told = load_start_weights(checkpoint, module)
    assert len(told) == 1 and torch.equal(probability(module), probability(load_module(checkpoint)))


@pytest.mark.parametrize(
    ("tuning", "told"),
    [
        (LORA | {"rank": 4}, "its adapters are merged into the weights; the adapters start fresh"),
        (section("tuning", "full"), "its adapters are merged into the weights"),
    ],
)
def test_other_adapters_are_merged_into_the_start_weights(
    checkpoint: Path, tmp_path: Path, tuning: dict[str, Any], told: str
) -> None:
    module = make_classifier(backbone=PACKAGE, tuning=tuning)
    assert load_start_weights(checkpoint, module)[1:] == [f"start weights: {told}"]
    torch.testing.assert_close(probability(module), probability(load_module(checkpoint)), rtol=0, atol=1e-5)
    path = save(module, tmp_path)  # its base is nobody's weights, so they are in the file
    assert torch.load(path)["retinai"]["frozen"] is None
    assert torch.equal(probability(load_module(path)), probability(module))


def test_adapters_start_on_the_weights_of_a_run_without(tmp_path: Path) -> None:
    path = save(make_classifier(), tmp_path)
    module = make_classifier(tuning=LORA, seed=3)
    assert load_start_weights(path, module)[1:] == ["start weights: the adapters start fresh"]
    assert torch.equal(probability(module), probability(load_module(path)))


def test_merging_leaves_the_module_as_it_is(checkpoint: Path) -> None:
    module = load_module(checkpoint)
    before = set(module.state_dict())
    whole = merged(module)
    assert set(module.state_dict()) == before
    assert not any(is_adapter(key) or "base_layer" in key for key in whole.state_dict())
    torch.testing.assert_close(probability(whole), probability(module), rtol=0, atol=1e-5)


def test_a_teacher_may_have_adapters(checkpoint: Path) -> None:
    teachers = load_teachers([checkpoint])
    batch = next(iter(make_loader()))
    answer = teachers.probabilities({**batch, "view_0": batch["image"]}, 1.0)
    torch.testing.assert_close(answer, probability(load_module(checkpoint)))
    assert not any(p.requires_grad for p in teachers.modules[0].parameters())


def test_a_tuning_of_a_language_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="tuning=qlora is of a language model"):
        make_classifier(tuning=section("tuning", "qlora"))
