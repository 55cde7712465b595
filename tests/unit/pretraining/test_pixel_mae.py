"""The baseline of the study of Token Reconstruction: its loss by hand, and what it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from module_factory import section
from torch.nn.functional import unfold

from retinai.pretraining.reference import Reference

pytest.importorskip("lightly", reason="pip install '.[baselines]'")
STUDY = Path(__file__).parents[3] / "experiments" / "token_reconstruction"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The baseline on a network of four cells of 32 pixels."""
    monkeypatch.syspath_prepend(str(STUDY))
    from pixel_mae import PixelMae

    made = PixelMae(
        backbone=section("backbone", "efficientnet_lite0", weights="none", input_size=64),
        preprocessing={"input_size": 64, "mean": [0.5] * 3, "std": [0.5] * 3},
        optimizer=section("optimizer", "adamw"),
        scheduler=section("scheduler", "cosine"),
    )
    made.reference = Reference(made.network.encoder)
    return made.train()


def test_the_loss_is_that_of_normalised_patches_at_hidden_cells(module: Any) -> None:
    from lightly.models.utils import random_token_mask

    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(5)
    _, hidden = random_token_mask((3, 5), mask_ratio=0.6)
    assert hidden.shape == (3, 3) and int(hidden.min()) >= 1  # three of four cells, and never the class token
    expected = []
    for image, cells, said in zip(images, hidden, module.network(images, hidden), strict=True):
        # Channels run fastest in lightly's patches, slowest in PyTorch's.
        patches = unfold(image[None], 32, stride=32)[0].view(3, 1024, 4).permute(2, 1, 0).flatten(1)
        for cell, pixels in zip(cells.tolist(), said, strict=True):
            true = patches[cell - 1]
            expected.append(((pixels - (true - true.mean()) / (true.var() + 1e-6).sqrt()) ** 2).mean())
    torch.manual_seed(5)
    assert module.pixel_loss(images).item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_the_encoder_learns_and_the_reference_does_not(module: Any) -> None:
    module.pixel_loss(torch.randn(2, 3, 64, 64)).backward()
    assert all(p.grad is not None for p in module.network.parameters() if p.requires_grad)
    assert not any(p.requires_grad for p in module.reference.encoder.parameters())
