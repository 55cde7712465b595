"""What trains under each tuning, and that the frozen part keeps no graph."""

from __future__ import annotations

import pytest
import torch

from retinai.encoders.attention import AttentionSettings
from retinai.encoders.encoder import build_encoder
from retinai.encoders.tuning import TuningSettings, hash_tensors, keep_frozen_in_eval
from retinai.errors import ConfigError
from retinai.modules.image_classifier import ImageClassifier


@pytest.fixture
def network() -> ImageClassifier:
    encoder = build_encoder({"name": "r18", "architecture": "resnet18", "input_size": 32})
    return ImageClassifier(encoder, AttentionSettings("se"), 3)


def trains(network: ImageClassifier) -> set[str]:
    return {n for n, p in network.named_parameters() if p.requires_grad}


def test_full_head_and_partial(network: ImageClassifier) -> None:
    total = sum(p.numel() for p in network.parameters())
    assert TuningSettings("full").apply(network).trainable == total
    report = TuningSettings("partial", blocks=2).apply(network)
    prefixes = {n.split(".layer")[0] + ".layer" + n.split(".layer")[1][0] for n in trains(network) if ".layer" in n}
    assert prefixes == {"encoder.net.layer4"} and report.trainable + report.frozen == total
    assert "encoder.net.layer3.1.bn2.running_var" in report.frozen_keys
    report = TuningSettings("head").apply(network)
    assert all(n.startswith(("head.", "attention.")) for n in trains(network))


def test_the_frozen_prefix_keeps_no_graph_and_rests(network: ImageClassifier) -> None:
    TuningSettings("partial", blocks=2).apply(network)
    network.train()
    keep_frozen_in_eval(network)
    seen: dict[str, torch.Tensor] = {}
    net = network.encoder.net
    net.layer3.register_forward_hook(lambda m, i, o: seen.update(frozen=o))
    net.layer4.register_forward_hook(lambda m, i, o: seen.update(trained=o))
    network(torch.randn(2, 3, 32, 32))
    assert not seen["frozen"].requires_grad and seen["trained"].requires_grad
    assert not net.bn1.training and net.layer4[0].bn1.training


def test_frozen_norms(network: ImageClassifier) -> None:
    report = TuningSettings("full", freeze_norm=True).apply(network)
    network.train()
    keep_frozen_in_eval(network)
    assert report.frozen > 0 and not any("bn" in n for n in trains(network))
    assert not network.encoder.net.layer1[0].bn1.training and network.dropout.training


def test_senseless_settings(network: ImageClassifier) -> None:
    for values, message in [
        ({"name": "lore"}, "valid: full, head, partial"),
        ({"name": "partial"}, "needs tuning.blocks"),
        ({"name": "head", "blocks": 2}, "means nothing"),
    ]:
        with pytest.raises(ConfigError, match=message):
            TuningSettings(**values)
    with pytest.raises(ConfigError, match=r"more than backbone r18 has \(8\)"):
        TuningSettings("partial", blocks=9).apply(network)


def test_hash_sees_values_names_and_shapes_but_not_the_memory_format() -> None:
    weight = torch.randn(2, 3, 4, 4)
    same = weight.to(memory_format=torch.channels_last)
    assert hash_tensors({"a": weight}, ["a"]) == hash_tensors({"a": same}, ["a"])
    assert hash_tensors({"a": weight}, ["a"]) != hash_tensors({"a": weight + 1}, ["a"])
    assert hash_tensors({"a": weight}, ["a"]) != hash_tensors({"a": weight.flatten(1)}, ["a"])
