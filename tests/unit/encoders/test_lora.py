"""LoRA on the encoders: the same function at first, the right matrices, nothing else trains, and merging by hand."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from retinai.encoders.adapter_targets import choose_layers
from retinai.encoders.attention import AttentionSettings
from retinai.encoders.encoder import build_encoder
from retinai.encoders.lora import LoraTuning, merged
from retinai.encoders.tuning import keep_frozen_in_eval
from retinai.errors import ConfigError
from retinai.modules.image_classifier import ImageClassifier
from retinai.modules.optimization import OptimizerSettings, parameter_groups

ARCHITECTURES = {
    "efficientnet_lite0": ("tf_efficientnet_lite0", 32),
    "vit_small": ("vit_small_patch16_224", 32),
    "swin_tiny": ("swin_tiny_patch4_window7_224", 32),
    "resnet18": ("resnet18", 32),
    "convnext_tiny": ("convnext_tiny", 32),
    "beit": ("beit_base_patch16_224", 32),
}
PROVEN = ["efficientnet_lite0", "vit_small", "swin_tiny"]
# Layers of each network counted from its paper: 12 blocks with qkv and proj; 2 + 2 + 6 + 2 of the same; in 16 blocks
# 15 expansions and 16 projections, and the last convolution.
LAYERS = {"vit_small": 24, "swin_tiny": 24, "efficientnet_lite0": 32}


@cache
def untouched(name: str) -> ImageClassifier:
    architecture, side = ARCHITECTURES[name]
    torch.manual_seed(0)
    encoder = build_encoder({"name": name, "architecture": architecture, "input_size": side})
    return ImageClassifier(encoder, AttentionSettings("none"), 5).eval()


class Module(nn.Module):
    """What `merged` takes: something with a network."""

    def __init__(self, network: ImageClassifier) -> None:
        super().__init__()
        self.network = network


def adapted(name: str, values: float = 0.0, **settings: object) -> ImageClassifier:
    network = copy.deepcopy(untouched(name))
    torch.manual_seed(1)
    LoraTuning(**settings).apply(network)  # type: ignore[arg-type]
    for key, parameter in network.named_parameters():
        if ".lora_B." in key and values:
            nn.init.normal_(parameter, std=values)
    return network.eval()


def photographs() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def targeted(name: str) -> dict[str, nn.Module]:
    """The layers that the default means, picked by plain Python from the untouched network."""
    parts = dict(untouched(name).encoder.net.named_modules())
    if name == "efficientnet_lite0":
        return {k: m for k, m in parts.items() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)}
    return {k: m for k, m in parts.items() if k.endswith(("attn.qkv", "attn.proj"))}


@pytest.mark.parametrize("name", PROVEN)
def test_the_first_logits_are_those_of_the_encoder_without_adapters(name: str) -> None:
    with torch.no_grad():
        assert torch.equal(adapted(name)(photographs()), untouched(name)(photographs()))
        assert not torch.equal(adapted(name, values=0.1)(photographs()), untouched(name)(photographs()))


@pytest.mark.parametrize("name", PROVEN)
def test_the_number_of_trained_parameters_is_that_of_two_matrices_per_layer_and_the_head(name: str) -> None:
    network, layers = copy.deepcopy(untouched(name)), targeted(name)
    report = LoraTuning(rank=4).apply(network)
    widths = [
        (m.in_channels * m.kernel_size[0] * m.kernel_size[1], m.out_channels)
        if isinstance(m, nn.Conv2d)
        else (m.in_features, m.out_features)  # type: ignore[operator]
        for m in layers.values()
    ]
    assert len(layers) == LAYERS[name]
    expected = sum(4 * (inputs + outputs) for inputs, outputs in widths)  # type: ignore[operator]
    assert report.trainable == expected + sum(p.numel() for p in network.head.parameters())
    assert report.frozen == sum(p.numel() for p in untouched(name).encoder.parameters())
    share = report.trainable / (report.trainable + report.frozen)
    assert f"({share:.2%})" in str(report) and f"rank 4 on {LAYERS[name]} layers" in str(report)


@pytest.mark.parametrize("name", PROVEN)
def test_merging_adds_alpha_over_rank_times_b_a(name: str) -> None:
    network = adapted(name, values=0.1, rank=4, alpha=6)
    whole = merged(Module(network)).network
    parts, before = dict(network.encoder.net.named_modules()), dict(untouched(name).encoder.net.named_parameters())
    assert set(whole.state_dict()) == set(untouched(name).state_dict())
    for key, after in whole.encoder.net.named_parameters():
        expected = before[key].detach().clone()
        layer = key.removesuffix(".weight")
        if layer in targeted(name):
            a, b = (getattr(parts[layer], m)["default"].weight for m in ("lora_A", "lora_B"))
            expected += 6 / 4 * (b.flatten(1) @ a.flatten(1)).reshape(expected.shape)
        torch.testing.assert_close(after, expected, rtol=0, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(whole(photographs()), network(photographs()), rtol=0, atol=1e-5)
        assert not torch.allclose(network(photographs()), untouched(name)(photographs()), atol=1e-3)


def test_without_adapters_nothing_is_copied() -> None:
    module = Module(untouched("resnet18"))
    assert merged(module) is module


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("name", PROVEN)
def test_what_trains_has_a_gradient_and_nothing_else(name: str, norms: bool) -> None:
    network = adapted(name, values=0.1, norms=norms)
    frozen = {k: v.clone() for k, v in network.state_dict().items()}
    network.train()
    keep_frozen_in_eval(network)
    network(photographs()).square().sum().backward()
    own = dict(untouched(name).encoder.net.named_modules())
    for key, parameter in network.named_parameters():
        layer = own.get(key.removeprefix("encoder.net.").rpartition(".")[0])
        trains = "lora_" in key or key.startswith("head.") or (norms and "Norm" in type(layer).__name__)
        assert parameter.requires_grad == trains == (parameter.grad is not None), key
    moved = [k for k, v in network.state_dict().items() if not torch.equal(v, frozen[k])]
    assert bool(moved) == (norms and name == "efficientnet_lite0")  # batch normalisation that trains measures anew
    assert all("running" in key or "batches" in key for key in moved)


@pytest.mark.parametrize("norms", [False, True])
def test_frozen_keys_are_what_training_cannot_change(norms: bool) -> None:
    network = copy.deepcopy(untouched("efficientnet_lite0"))
    frozen = set(LoraTuning(norms=norms).apply(network).frozen_keys)
    names = {key.removeprefix("encoder.net.") for key in frozen}
    assert frozen <= set(network.state_dict()) and not any("lora_" in key for key in names)
    assert "blocks.1.0.conv_pw.base_layer.weight" in names and "conv_stem.weight" in names
    for key in ("bn1.weight", "bn1.running_mean", "blocks.1.0.bn2.num_batches_tracked"):
        assert (key in names) is not norms


@pytest.mark.parametrize("name", PROVEN)
def test_adapters_have_the_rate_of_their_layer_and_weight_decay(name: str) -> None:
    network = adapted(name, norms=True)
    settings = OptimizerSettings(lr=1.0, weight_decay=0.5, layer_decay=0.5, head_lr_multiplier=3.0)
    groups = parameter_groups(network, settings)
    place = {id(p): group for group in groups for p in group["params"]}
    trained = {k: p for k, p in network.named_parameters() if p.requires_grad}
    assert len(place) == len(trained) == sum(len(group["params"]) for group in groups)
    plain, last = untouched(name).encoder, untouched(name).encoder.num_blocks + 1
    depths = plain.depths()
    for key, parameter in trained.items():
        group, inner = place[id(parameter)], key.removeprefix("encoder.net.")
        if key.startswith("head."):
            assert group["lr"] == 3.0
            continue
        layer = inner.split(".lora_")[0]
        depth = depths[f"{layer}.weight"] if "lora_" in inner else depths[inner]
        assert group["lr"] == 0.5 ** (last - depth), key
        assert group["weight_decay"] == (0.5 if "lora_" in inner else 0.0), key


@pytest.mark.parametrize(
    ("name", "targets", "count", "last"),
    [
        ("vit_small", "attention", 24, "blocks.11.attn.proj"),
        ("vit_small", "mlp", 24, "blocks.11.mlp.fc2"),
        ("vit_small", ["attention", "mlp"], 48, "blocks.11.mlp.fc2"),
        ("vit_small", r"blocks\.1[01]\.attn\.qkv", 2, "blocks.11.attn.qkv"),
        ("vit_small", r"patch_embed\..*", 1, "patch_embed.proj"),
        ("swin_tiny", "auto", 24, "layers.3.blocks.1.attn.proj"),
        ("efficientnet_lite0", "conv1x1", 32, "conv_head"),
        ("resnet18", "auto", 19, "layer4.1.conv2"),
        ("resnet18", "conv1x1", 3, "layer4.0.downsample.0"),
        ("convnext_tiny", "auto", 39, "stages.3.blocks.2.mlp.fc2"),
    ],
)
def test_targets(name: str, targets: str | list[str], count: int, last: str) -> None:
    layers = choose_layers(untouched(name).encoder, targets)
    assert (len(layers), layers[-1]) == (count, last)
    parts = dict(untouched(name).encoder.net.named_modules())
    assert all(getattr(parts[layer], "groups", 1) == 1 for layer in layers)


def test_convolutions_larger_than_a_cell() -> None:
    network = adapted("resnet18", values=0.1, rank=2)
    with torch.no_grad():
        whole = merged(Module(network)).network
        torch.testing.assert_close(whole(photographs()), network(photographs()), rtol=1e-5, atol=1e-5)
    matrices = network.encoder.net.layer4[1].conv2
    assert sum(p.numel() for p in matrices.parameters() if p.requires_grad) == 2 * (512 * 3 * 3 + 512)


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("resnet18", {"targets": "attention"}, r"attention matches no layer of backbone resnet18; it has conv \(19"),
        ("vit_small", {"targets": "conv"}, r"conv matches no layer .* it has attention \(24 layers\), mlp \(24"),
        ("vit_small", {"targets": ["mlp", "q_proj"]}, r"q_proj matches no layer .*such as 'blocks.0.attn.qkv'"),
        ("efficientnet_lite0", {"targets": ".*conv_dw"}, "conv_dw matches no layer"),
        ("beit", {}, r"no effect on 12 layers of backbone beit.*first 'blocks.0.attn.qkv'"),
    ],
)
def test_targets_that_the_backbone_lacks_are_refused(name: str, settings: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        adapted(name, **settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rank": 0}, "tuning.rank=0"),
        ({"rank": 2.5}, "tuning.rank=2.5"),
        ({"alpha": 0}, "tuning.alpha=0 must be a number above 0"),
        ({"alpha": -1}, "tuning.alpha=-1"),
        ({"alpha": float("inf")}, "tuning.alpha=inf"),
        ({"dropout": 1}, "tuning.dropout=1"),
        ({"targets": "blocks.("}, "no regular expression"),
        ({"targets": []}, r"tuning.targets=\[\] must be a word"),
        ({"targets": ""}, "must be a word"),
        ({"norms": "yes"}, "tuning.norms=yes"),
        ({"name": "lore"}, "tuning.name=lore"),
    ],
)
def test_values_out_of_range_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        LoraTuning(**settings)  # type: ignore[arg-type]
