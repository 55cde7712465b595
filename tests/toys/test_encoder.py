"""An encoder that no file of the package knows: every tuning, layer decay and attention suit it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.encoders.attention import AttentionSettings
from retinai.encoders.encoder import Encoder
from retinai.encoders.lora import LoraTuning, merge_adapters
from retinai.encoders.tuning import EncoderTuning, TuningSettings
from retinai.modules.image_classifier import ImageClassifier
from retinai.modules.optimization import OptimizerSettings, parameter_groups

MEAN = STD = (0.5, 0.5, 0.5)


class ToyEncoder(Encoder):
    """Three convolutions: a stem and two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.num_features, self.num_channels = "toy", 4, 4
        self.preprocessing = Preprocessing(16, MEAN, STD)
        layers = {"stem": nn.Conv2d(3, 4, 3, stride=4), "first": nn.Conv2d(4, 4, 1), "second": nn.Conv2d(4, 4, 1)}
        self.net = nn.Sequential()
        for name, layer in layers.items():
            self.net.add_module(name, layer)

    def embed(self, images: Tensor, attention: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        seen = self.feature_map(images)
        return (seen if attention is None else attention(seen)).mean((2, 3))

    def feature_map(self, images: Tensor) -> Tensor:
        return self.net(images)

    def blocks(self) -> list[list[str]]:
        keys = list(self.net.state_dict())
        return [[key for key in keys if key.startswith(part)] for part in ("stem", "first", "second")] + [[]]


def network() -> ImageClassifier:
    torch.manual_seed(0)
    return ImageClassifier(ToyEncoder(), AttentionSettings("se", reduction=2), 3)


def images() -> Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("tuning", "trained"),
    [
        (TuningSettings("full"), {"stem.weight", "first.weight", "second.weight"}),
        (TuningSettings("head"), set()),
        (TuningSettings("partial", blocks=1), {"second.weight"}),
        (LoraTuning(rank=1), {f"{name}.lora_{x}.default.weight" for name in ("first", "second") for x in "AB"}),
    ],
)
def test_every_tuning_trains_what_it_says(tuning: EncoderTuning, trained: set[str]) -> None:
    whole = network()
    before = whole(images())
    report = tuning.apply(whole)
    assert torch.equal(whole(images()), before)
    net = dict(whole.encoder.net.named_parameters())
    assert {key for key, p in net.items() if p.requires_grad and key.endswith("weight")} == trained
    whole(images()).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in whole.parameters())
    assert report.trainable == sum(p.numel() for p in whole.parameters() if p.requires_grad)
    assert {f"encoder.net.{key}" for key, p in net.items() if not p.requires_grad} == set(report.frozen_keys)


def test_adapters_merge() -> None:
    whole = network().eval()
    names = set(whole.state_dict())
    LoraTuning(rank=2).apply(whole)
    for key, parameter in whole.named_parameters():
        if "lora_B" in key:
            nn.init.normal_(parameter)
    with torch.no_grad():
        adapted = whole.eval()(images())
        merge_adapters(whole.encoder)
        torch.testing.assert_close(whole(images()), adapted)
    assert set(whole.state_dict()) == names


def test_layer_decay_follows_its_blocks() -> None:
    whole = network()
    groups = parameter_groups(whole, OptimizerSettings(lr=1.0, layer_decay=0.5, head_lr_multiplier=2.0))
    rates = {group["name"]: group["lr"] for group in groups if not group["name"].endswith("_no_decay")}
    assert rates == {"layer_0": 0.125, "layer_1": 0.25, "layer_2": 0.5, "head": 2.0}
    # A network without an encoder, such as one that draws photographs, is one group.
    plain = parameter_groups(nn.Linear(2, 2), OptimizerSettings(lr=1.0))
    assert [group["name"] for group in plain] == ["network", "network_no_decay"]
    assert {group["lr"] for group in plain} == {1.0}
