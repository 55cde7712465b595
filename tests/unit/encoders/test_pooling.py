"""How tokens and maps become one vector per photograph, against timm's own features."""

from __future__ import annotations

import pytest
import torch

from retinai.encoders.timm_encoder import TimmEncoder


@pytest.mark.parametrize(
    ("architecture", "prefix"),
    [("test_vit", 1), ("test_vit2", 1), ("vit_tiny_patch16_224", 1), ("vit_small_patch14_reg4_dinov2", 5)],
)
def test_pooled_tokens(architecture: str, prefix: int) -> None:
    side = 28 if prefix == 5 else 32
    encoder = TimmEncoder(architecture, architecture, input_size=side).eval()
    net, images = encoder.net, torch.randn(2, 3, side, side)
    with torch.no_grad():
        # The final norm comes before the pooling in some networks and after it in others.
        tokens, norm = net.forward_features(images), net.fc_norm
        with_class = ["token"] if architecture != "test_vit2" else []  # that one has a register only
        assert encoder.poolings() == ("own", "avg", "all", *with_class) and net.num_prefix_tokens == prefix
        torch.testing.assert_close(encoder.pool(images, "own"), net(images))
        for word in with_class:
            torch.testing.assert_close(encoder.pool(images, word), norm(tokens[:, 0]))
        torch.testing.assert_close(encoder.pool(images, "avg"), norm(tokens[:, prefix:].mean(dim=1)))
        torch.testing.assert_close(encoder.pool(images, "all"), norm(tokens.mean(dim=1)))


@pytest.mark.parametrize(("architecture", "side"), [("test_efficientnet", 32), ("swin_tiny_patch4_window7_224", 64)])
def test_pooled_maps(architecture: str, side: int) -> None:
    encoder = TimmEncoder(architecture, architecture, input_size=side).eval()
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        assert encoder.poolings() == ("own", "avg")
        torch.testing.assert_close(encoder.pool(images, "avg"), encoder.feature_map(images).flatten(2).mean(dim=2))
        torch.testing.assert_close(encoder.pool(images, "own"), encoder.net(images))
