"""Encoders of timm: every shipped one forward and backward, features and depths against timm's own."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from timm.data import resolve_model_data_config
from timm.optim import param_groups_layer_decay

from retinai.encoders.attention import AttentionSettings
from retinai.encoders.encoder import build_encoder
from retinai.encoders.pretrained import hub_file
from retinai.encoders.timm_encoder import TimmEncoder
from retinai.encoders.tuning import TuningSettings
from retinai.errors import CheckpointError, ConfigError, UserError
from retinai.modules.image_classifier import ImageClassifier

CONF = Path(__file__).parents[3] / "conf" / "backbone"
# Foundation models of later parts need more than timm, and have tests of their own.
SECTIONS = {p.stem: yaml.safe_load(p.read_text()) for p in sorted(CONF.glob("*.yaml"))}
NAMES = [n for n, s in SECTIONS.items() if s["_target_"] == "retinai.encoders.timm_encoder.TimmEncoder"]
SIDES = {"swin_tiny": 64}
# Weights of owners who normalise otherwise than the network of timm that they begin from.
OWN_INPUT = ("retfound_green", "flair_resnet50")


def section(name: str, **changes: Any) -> dict[str, Any]:
    """The section of a backbone for small photographs; large vision transformers are two blocks deep."""
    own = SECTIONS[name]
    side = 28 if "patch14" in own["architecture"] else SIDES.get(name, 32)
    shallow = {"depth": 2} if own["architecture"].startswith(("vit_large", "vit_base", "vit_giant")) else {}
    return own | {"weights": "none", "input_size": side, "arguments": shallow} | changes


@pytest.mark.parametrize("name", NAMES)
def test_forward_backward_and_no_parameter_without_a_gradient(name: str) -> None:
    encoder = build_encoder(section(name, drop_path_rate=0.0))
    if not encoder.pools_map:
        with pytest.raises(ConfigError, match="pooling=avg"):
            ImageClassifier(encoder, AttentionSettings("cbam"), 5)
        encoder = build_encoder(section(name, drop_path_rate=0.0, pooling="avg"))
    network = ImageClassifier(encoder, AttentionSettings("cbam"), 5, dropout=0.1)
    side = encoder.preprocessing.input_size
    images = torch.randn(2, 3, side, side)
    logits = network(images)
    logits.square().sum().backward()
    assert logits.shape == (2, 5)
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        feature_map = encoder.eval().feature_map(images)
        assert encoder.embed(images).shape == (2, encoder.num_features)
    assert feature_map.shape == (2, encoder.num_channels, *encoder.grid_size)
    assert network.last_attention["spatial"].shape == (2, 1, *encoder.grid_size)
    assert network.last_attention["channel"].shape[:2] == (2, encoder.num_channels)
    depths = encoder.depths()
    assert set(depths) == set(encoder.net.state_dict())
    assert set(depths.values()) >= set(range(encoder.num_blocks + 1))
    report = TuningSettings("partial", blocks=1).apply(network)
    assert 0 < report.trainable < report.frozen + report.trainable


@pytest.mark.parametrize("name", NAMES)
def test_the_input_is_the_one_that_the_weights_expect(name: str) -> None:
    own = SECTIONS[name]
    if own["weights"] == "package" or name in OWN_INPUT:
        return  # checked by what the weights give, in test_published.py, or said by their owners
    with torch.device("meta"):
        config = resolve_model_data_config(timm.create_model(own["architecture"]))
    assert all(tuple(own[key]) == config[key] for key in ("mean", "std"))
    assert own["interpolation"] == config["interpolation"]


# The shapes that timm's helpers differ in: tokens, channels first and last, with and without a last convolution.
SHAPES = {"test_vit": 32, "test_efficientnet": 64, "test_resnet": 64, "test_convnext": 64,
          "swin_tiny_patch4_window7_224": 64}  # fmt: skip


@cache
def tiny(architecture: str) -> TimmEncoder:
    torch.manual_seed(0)
    encoder = TimmEncoder(architecture, architecture, input_size=SHAPES[architecture])
    return encoder.eval()


def photographs(architecture: str) -> torch.Tensor:
    return torch.randn(2, 3, SHAPES[architecture], SHAPES[architecture], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("architecture", SHAPES)
def test_features_are_timms(architecture: str) -> None:
    encoder, images = tiny(architecture), photographs(architecture)
    with torch.no_grad():
        embedding, feature_map = encoder.embed(images), encoder.feature_map(images)
        assert torch.equal(embedding, encoder.net(images)) and torch.equal(encoder(images), embedding)
        if architecture != "test_efficientnet":  # there timm stops before the last convolution
            last = encoder.net.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)[0]
            assert torch.equal(feature_map, last)
        assert torch.equal(encoder.embed(images, attention=lambda seen: seen * 1), embedding)
        changed = encoder.embed(images, attention=lambda seen: seen * 2)
        assert torch.equal(changed, embedding) is not encoder.pools_map


@pytest.mark.parametrize("architecture", SHAPES)
def test_depths_are_those_of_timms_layer_decay(architecture: str) -> None:
    encoder = tiny(architecture)
    depths, last = encoder.depths(), encoder.num_blocks + 1
    groups = param_groups_layer_decay(encoder.net, layer_decay=0.5)
    steps = {id(p): round(-math.log2(group["lr_scale"])) for group in groups for p in group["params"]}
    stem = max(steps.values())  # the stem is as many steps from timm's last group as there are
    for key, parameter in encoder.net.named_parameters():
        # timm counts what follows the last block with it where it names it.
        tail = depths[key] == last
        assert stem - steps[id(parameter)] in ((last - 1, last) if tail else (depths[key],)), key
    assert encoder.num_blocks > 1 and all(encoder.blocks()[:-1])


def test_unsuitable_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="patches of 14 pixels; try 224"):
        build_encoder(section("dinov2_small", input_size=225))
    with pytest.raises(ConfigError, match="is no timm model"):
        build_encoder(section("resnet18", architecture="resnet_eighteen"))
    with pytest.raises(ConfigError, match="efficientnet_lite0, efficientnet_lite1, efficientnet_lite2 only"):
        build_encoder(section("resnet18", weights="package"))
    with pytest.raises(ConfigError, match="token and avg exist for vision transformers"):
        build_encoder(section("resnet18", pooling="avg"))
    with pytest.raises(ConfigError, match="token and avg exist for vision transformers"):
        build_encoder(section("swin_tiny", pooling="avg"))
    with pytest.raises(ConfigError, match="patches of 4 pixels; try 64"):
        build_encoder(section("swin_tiny", input_size=65))
    with pytest.raises(CheckpointError, match="is no file"):
        build_encoder(section("resnet18", weights="/nowhere/weights.pth"))


@pytest.mark.parametrize("offline", [True, False])
def test_without_network_the_error_names_the_file_at_once(
    offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens on the discard port
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if offline else "0")
    for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(key, raising=False)
    net = timm.create_model("resnet18.a1_in1k", num_classes=0)
    with pytest.raises(UserError) as caught:
        hub_file(net, "resnet18")
    text = str(caught.value)
    assert "timm/resnet18.a1_in1k" in text and "model.safetensors" in text and str(tmp_path) in text
    assert "backbone.weights=/path/to/file" in text
