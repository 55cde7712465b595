"""Maps of several sizes: those of timm's own `features_only`, for photographs of any size."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from test_timm_encoder import section

from retinai.encoders.encoder import build_encoder
from retinai.errors import UserError


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "convnext_tiny"])
def test_maps_are_those_of_timm(name: str) -> None:
    encoder = build_encoder(section(name)).eval()
    oracle = timm.create_model(encoder.architecture, features_only=True).eval()
    # timm writes ConvNeXt's `stages.0` as `stages_0` there, and its stem alike.
    weights = dict(encoder.net.state_dict())
    weights |= {re.sub(r"^(stages|stem)\.", r"\1_", key): value for key, value in weights.items()}
    assert oracle.load_state_dict(weights, strict=False).missing_keys == []
    images = torch.randn(2, 3, 72, 56)  # no square, and no multiple of 32
    with torch.no_grad():
        maps, expected = encoder.pyramid(images), oracle(images)
    assert tuple(one.shape[1] for one in maps) == encoder.pyramid_channels
    for one, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert maps[0].shape[2] > maps[-1].shape[2]


@pytest.mark.parametrize("name", ["vit_tiny", "swin_tiny"])
def test_networks_of_one_size_have_none(name: str) -> None:
    encoder = build_encoder(section(name))
    assert encoder.pyramid_channels == ()
    with pytest.raises(UserError, match="no maps of several sizes"):
        encoder.pyramid(torch.zeros(1, 3, 64, 64))
