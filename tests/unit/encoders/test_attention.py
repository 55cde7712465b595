"""Attention against its definition, and its maps read back."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional

from retinai.encoders.attention import AttentionSettings
from retinai.errors import ConfigError


def test_maps_explain_the_output() -> None:
    features = torch.randn(2, 32, 4, 5)
    for name, kinds in {"se": {"channel"}, "cbam": {"channel", "spatial"}}.items():
        attention = AttentionSettings(name, reduction=8, kernel_size=3).build(32)
        assert attention is not None and attention.last_attention == {}
        out = attention(features)
        maps = attention.last_attention
        assert set(maps) == kinds and all(bool(((m >= 0) & (m <= 1)).all()) for m in maps.values())
        torch.testing.assert_close(out, features * maps["channel"] * maps.get("spatial", torch.ones(1)))
        twin = copy.deepcopy(attention)
        twin(features * 2)
        assert torch.equal(attention.last_attention["channel"], maps["channel"])


def test_none_and_unknown() -> None:
    assert AttentionSettings("none").build(8) is None
    with pytest.raises(ConfigError, match="valid: none, se, cbam, mha"):
        AttentionSettings("sam")


def test_cells_attend_as_torchs_own_function_computes_it() -> None:
    torch.manual_seed(0)
    channels, heads = 24, 4
    block = AttentionSettings("mha", heads=heads).build(channels)
    assert block is not None and block.last_attention == {}
    assert sum(p.numel() for p in block.parameters()) == 4 * channels**2 + 4 * channels + 2 * channels
    features = torch.randn(2, channels, 3, 5)
    assert torch.equal(block(features), features)  # before training
    torch.nn.init.normal_(block.attention.out_proj.weight)
    out = block(features)

    cells = functional.layer_norm(features.flatten(2).mT, (channels,), block.norm.weight, block.norm.bias)
    layer = block.attention
    query, key, value = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2)
        for part in functional.linear(cells, layer.in_proj_weight, layer.in_proj_bias).chunk(3, dim=-1)
    )
    mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    expected = features.flatten(2).mT + layer.out_proj(mixed)
    torch.testing.assert_close(out, expected.mT.unflatten(2, (3, 5)))
    weights = (query @ key.mT / (channels / heads) ** 0.5).softmax(-1).mean(dim=(1, 2))
    torch.testing.assert_close(block.last_attention["spatial"], weights.unflatten(1, (1, 3, 5)))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))


def test_cells_have_no_places() -> None:
    block = AttentionSettings("mha", heads=2).build(8)
    assert block is not None
    torch.nn.init.normal_(block.attention.out_proj.weight)
    features = torch.randn(1, 8, 2, 6)
    order = torch.randperm(12)
    shuffled = block(features.flatten(2)[..., order].unflatten(2, (4, 3)))
    torch.testing.assert_close(shuffled.flatten(2), block(features).flatten(2)[..., order])


def test_heads_have_to_share_the_channels() -> None:
    with pytest.raises(ConfigError, match=r"attention\.heads=7 cannot share the map's 32 channels evenly"):
        AttentionSettings("mha", heads=7).build(32)
