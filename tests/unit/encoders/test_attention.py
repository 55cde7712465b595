"""Attention against its definition, and its maps read back."""

from __future__ import annotations

import copy

import pytest
import torch

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
    with pytest.raises(ConfigError, match="valid: none, se, cbam"):
        AttentionSettings("sam")
