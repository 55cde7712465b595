"""Token Reconstruction against hand computations: its loss, its reference, what it corrupts, its collapse monitor."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from module_factory import section
from torch import Tensor
from torch.nn import functional

from retinai.encoders.tuning import hash_tensors
from retinai.errors import ConfigError
from retinai.modules.optimization import SchedulerSettings
from retinai.pretraining.collapse import effective_rank, spread
from retinai.pretraining.corruption import Corruption
from retinai.pretraining.module import TokenReconstruction
from retinai.pretraining.reference import Reference
from retinai.pretraining.tokens import first_layer, tokens_of, without_cells

SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 3}
VIT = {"input_size": 64, "arguments": SMALL}
# Backbones with what makes them small, and h = w of their grid.
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "vit_tiny": (VIT, 4),
    "dinov2_small_reg": ({"input_size": 56, "arguments": SMALL}, 4),
    "efficientnet_lite0": ({"input_size": 64}, 2),
    "swin_tiny": (
        {
            "input_size": 64,
            "drop_path_rate": 0.0,
            "arguments": {"depths": [1, 1], "embed_dim": 24, "num_heads": [2, 2]},
        },
        8,
    ),
    "resnet18": ({"input_size": 64}, 2),
}


def make(backbone: str = "vit_tiny", **changes: Any) -> TokenReconstruction:
    own, _ = KINDS[backbone]
    side = own["input_size"]
    module = TokenReconstruction(
        backbone=section("backbone", backbone, weights="none", **own),
        preprocessing={"input_size": side, "mean": [0.5] * 3, "std": [0.5] * 3},
        optimizer=section("optimizer", "adamw"),
        scheduler=section("scheduler", "cosine"),
        **changes,
    )
    module.reference = Reference(module.network.encoder)
    return module.train()


def photographs(side: int, count: int = 4) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("backbone", KINDS)
def test_a_whole_photograph_costs_nothing_at_the_start(backbone: str) -> None:
    module, (own, grid) = make(backbone, noise=0.0, replaced=0.0), KINDS[backbone]
    assert module.reference is not None
    target = module.reference.tokens(photographs(own["input_size"]))
    assert target.grid == (grid, grid) and target.cells.shape[1] == grid * grid
    with torch.no_grad():
        assert float(module.loss(photographs(own["input_size"]), target)) < 1e-8
    worse = make(backbone)
    with torch.no_grad():
        assert float(worse.loss(photographs(own["input_size"]), target)) > 1e-4


def draws(count: int, side: int, grid: int) -> tuple[Tensor, Tensor]:
    """Return the noise and the replaced cells that the module draws after `manual_seed(2)`; the last one is whole."""
    torch.manual_seed(2)
    noise = torch.randn(count, 3, side, side)
    share = torch.rand(count, 1, 1) / 3
    replaced = torch.rand(count, grid, grid) < share
    noise[-1], replaced[-1] = 0, False
    return noise, replaced


def by_hand(module: TokenReconstruction, tokens: Tensor) -> Tensor:
    """Return the reconstruction of tokens, written out."""
    head = module.network.head
    normed = functional.layer_norm(tokens, tokens.shape[-1:], head.norm.weight, head.norm.bias)
    hidden = functional.gelu(normed @ head.mlp[0].weight.T + head.mlp[0].bias)
    return tokens + head.scale * (hidden @ head.mlp[2].weight.T + head.mlp[2].bias)


def test_the_loss_of_a_batch_of_tokens_is_that_of_a_hand_computation() -> None:
    module, images = make(), photographs(64)
    torch.nn.init.constant_(module.network.head.scale, 0.3)
    net: Any = copy.deepcopy(module.network.encoder.net).eval()
    noise, replaced = draws(4, 64, 4)
    seen = images + 0.2 * images.std(dim=(2, 3), keepdim=True) * noise
    with torch.no_grad():
        patches = net.patch_embed(seen)
        for row, cell in replaced.flatten(1).nonzero().tolist():
            patches[row, cell] = 0
        tokens = net.norm(net.blocks(net.norm_pre(net._pos_embed(patches))))
        wanted = float(((by_hand(module, tokens) - net.forward_features(images)) ** 2).mean())
        torch.manual_seed(2)
        found = module.training_step({"image": images, "id": list("abcd")}, 0)
    assert replaced.any() and float(found) == pytest.approx(wanted, rel=1e-5)


def test_the_loss_of_a_batch_of_maps_is_that_of_a_hand_computation() -> None:
    module, images = make("efficientnet_lite0"), photographs(64)
    torch.nn.init.constant_(module.network.head.scale, 0.3)
    net: Any = copy.deepcopy(module.network.encoder.net).eval()
    noise, replaced = draws(4, 64, 2)
    seen = images + 0.2 * images.std(dim=(2, 3), keepdim=True) * noise
    with torch.no_grad():
        stem = net.bn1(net.conv_stem(seen))  # 32 x 32: a cell of the last map is 16 x 16 of them
        for row, y, x in replaced.nonzero().tolist():
            stem[row, :, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = 0
        cells = net.bn2(net.conv_head(net.blocks(stem))).flatten(2).transpose(1, 2)
        whole = net.forward_features(images).flatten(2).transpose(1, 2)
        wanted = float(((by_hand(module, cells) - whole) ** 2).mean())
        torch.manual_seed(2)
        found = module.training_step({"image": images, "id": list("abcd")}, 0)
    assert replaced.any() and float(found) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("backbone", ["vit_tiny", "efficientnet_lite0"])
def test_training_changes_the_student_and_nothing_of_the_reference(backbone: str) -> None:
    module, (own, _) = make(backbone), KINDS[backbone]
    reference, images = module.reference, photographs(own["input_size"])
    assert reference is not None
    before = reference.tokens(images).values
    norms = [b.clone() for n, b in module.network.encoder.net.named_buffers() if "running" in n]
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    for step in range(2):
        optimizer.zero_grad()
        module.training_step({"image": images, "id": list("abcd")}, step).backward()
        optimizer.step()
    net = reference.encoder.net
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    assert not any(part.training for part in net.modules())
    assert hash_tensors(net.state_dict(), net.state_dict()) == reference.sha256
    assert torch.equal(reference.tokens(images).values, before)  # so any probe of the reference says what it said
    state = module.network.encoder.net.state_dict()
    assert hash_tensors(state, state) != reference.sha256
    assert not any("reference" in key for key in module.state_dict())
    now = [b for n, b in module.network.encoder.net.named_buffers() if "running" in n]
    assert all(torch.equal(a, b) for a, b in zip(norms, now, strict=True))
    assert module.network.training and len(norms) == (0 if backbone == "vit_tiny" else len(now))


@pytest.mark.parametrize("backbone", KINDS)
def test_the_replaced_cells_of_the_first_layer_are_zero_and_no_others(backbone: str) -> None:
    encoder, (own, grid) = make(backbone).network.encoder.eval(), KINDS[backbone]
    layer, seen = first_layer(encoder), []
    assert layer is not None
    replaced = torch.zeros(1, grid, grid, dtype=torch.bool)
    replaced[0, 1, 0] = True
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output))  # before cells are replaced
    with torch.no_grad():
        tokens_of(encoder, photographs(own["input_size"], 1), replaced)
    before, after = (encoder.to_map(out) for out in (seen[0], without_cells(seen[0], replaced, encoder)))
    step = before.shape[-1] // grid
    own_cell = torch.zeros(before.shape[-2:], dtype=torch.bool)
    own_cell[step : 2 * step, :step] = True
    assert not after[..., own_cell].any() and before[..., own_cell].any()
    assert torch.equal(after[..., ~own_cell], before[..., ~own_cell])


def test_an_encoder_without_a_stem_loses_cells_of_its_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make("resnet18").network.encoder.eval()
    keys = [key for group in encoder.blocks() for key in group]
    monkeypatch.setattr(type(encoder), "blocks", lambda self: [[], keys, []])
    assert first_layer(encoder) is None
    images, replaced = photographs(64, 1), torch.tensor([[[True, False], [False, False]]])
    cut = images.clone()
    cut[:, :, :32, :32] = 0
    with torch.no_grad():
        assert torch.equal(tokens_of(encoder, images, replaced).values, tokens_of(encoder, cut).values)


def test_each_photograph_draws_its_own_share_and_the_last_ones_stay_whole() -> None:
    corruption, generator = Corruption(noise=0.2, replaced=0.5), torch.Generator().manual_seed(0)
    cells = corruption.cells(401, (20, 20), torch.device("cpu"), clean=1, generator=generator)
    shares = cells.float().mean(dim=(1, 2))
    assert shares[-1] == 0 and shares.max() < 0.62 and shares[:-1].mean() == pytest.approx(0.25, abs=0.02)
    assert shares[:-1].std() == pytest.approx(0.5 / 12**0.5, abs=0.02)  # uniform from 0 to a half
    images = photographs(64)
    noise = corruption.noisy(images, clean=2, generator=generator) - images
    assert not noise[2:].any()
    scale = noise[:2].std(dim=(2, 3)) / images[:2].std(dim=(2, 3))
    assert torch.allclose(scale, torch.full((2, 3), 0.2), atol=0.01)


def test_spread_and_rank_of_features() -> None:
    same = torch.ones(10, 6)
    assert spread(same) == 0 and effective_rank(same) == 1
    # Three directions that are used alike, beside a common part that all share.
    axes = torch.cat([torch.eye(3), -torch.eye(3)]) @ torch.linalg.qr(torch.randn(6, 3))[0].T
    assert effective_rank(axes + 5) == pytest.approx(3, rel=1e-5)
    assert spread(torch.tensor([[0.0, 0.0], [2.0, 4.0]])) == pytest.approx((2**0.5 + 8**0.5) / 2)


def test_the_cosine_ends_flat() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    rates = []
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedule = SchedulerSettings("cosine", warmup=0.1, final_factor=0.01, flat=0.2).build(optimizer, 120)
    for _ in range(120):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(1 / 12) and rates[11] == 1
    assert rates[53] == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 41 / 83)))
    assert rates[95:] == pytest.approx([0.01] * 25) and min(rates[:94]) > 0.011
    with pytest.raises(ConfigError, match="flat"):
        SchedulerSettings("cosine", warmup=0.5, flat=0.5)
