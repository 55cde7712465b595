"""Parameter groups against timm's, schedules against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from timm.optim import param_groups_layer_decay

from retinai.encoders.attention import AttentionSettings
from retinai.encoders.encoder import build_encoder
from retinai.errors import ConfigError
from retinai.modules.image_classifier import ImageClassifier
from retinai.modules.optimization import OptimizerSettings, SchedulerSettings, parameter_groups


def test_layer_decay_is_timms_for_a_vision_transformer() -> None:
    encoder = build_encoder({"name": "v", "architecture": "vit_tiny_patch16_224", "input_size": 32})
    network = ImageClassifier(encoder, AttentionSettings(), 3)
    settings = OptimizerSettings(lr=1e-3, weight_decay=0.05, layer_decay=0.7, head_lr_multiplier=5.0)
    ours = {}
    for group in parameter_groups(network, settings):
        ours |= {id(p): (group["lr"] / 1e-3, group["weight_decay"]) for p in group["params"]}
    excluded = list(encoder.net.no_weight_decay())
    for group in param_groups_layer_decay(encoder.net, 0.05, excluded, layer_decay=0.7):
        for parameter in group["params"]:
            # timm puts the final norm into the last block's group; BEiT and RETFound count it with the head.
            norm = any(parameter is p for p in encoder.net.norm.parameters())
            scale = group["lr_scale"] if norm else group["lr_scale"] * 0.7
            assert ours[id(parameter)] == pytest.approx((scale, group["weight_decay"]))
    assert ours[id(network.head.weight)] == pytest.approx((5.0, 0.05)) and ours[id(network.head.bias)][1] == 0
    assert len(ours) == len(list(network.parameters()))


def test_frozen_parameters_are_in_no_group_and_thresholds_are() -> None:
    encoder = build_encoder({"name": "r", "architecture": "resnet18", "input_size": 32})
    network = ImageClassifier(encoder, AttentionSettings(), 3)
    encoder.requires_grad_(False)
    threshold = torch.nn.Parameter(torch.zeros(2))
    groups = parameter_groups(network, OptimizerSettings(), [threshold])
    assert sum(len(g["params"]) for g in groups) == 3
    assert [g["name"] for g in groups] == ["head", "head_no_decay"]


def rates(settings: SchedulerSettings, steps: int) -> list[float]:
    optimizer = OptimizerSettings(lr=1.0).build([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1.0}])
    scheduler = settings.build(optimizer, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(seen) < steps else None
    return seen


def test_cosine_with_warm_up_by_hand() -> None:
    seen = rates(SchedulerSettings("cosine", warmup=0.2, final_factor=0.1), 20)
    assert seen[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0]) and seen[-1] == pytest.approx(0.1)
    assert seen[10] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 6 / 15)))


def test_onecycle_and_constant() -> None:
    seen = rates(SchedulerSettings("onecycle", warmup=0.3, start_factor=0.04, final_factor=1e-4), 50)
    assert seen[0] == pytest.approx(0.04) and max(seen) == pytest.approx(1.0, abs=1e-2)
    assert seen[-1] == pytest.approx(1e-4)
    assert rates(SchedulerSettings("constant", warmup=0.0), 5) == [1.0] * 5
    for steps in (1, 2, 3):  # a tiny run must not divide by zero
        assert len(rates(SchedulerSettings("onecycle"), steps)) == steps


def test_senseless_settings() -> None:
    with pytest.raises(ConfigError, match="valid: adamw, adam"):
        OptimizerSettings(name="sgd")
    with pytest.raises(ConfigError, match="layer_decay"):
        OptimizerSettings(layer_decay=1.2)
    with pytest.raises(ConfigError, match="valid: onecycle, cosine, constant"):
        SchedulerSettings(name="steps")
    with pytest.raises(ConfigError, match="max_epochs"):
        rates(SchedulerSettings("cosine"), math.inf)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["onecycle", "cosine", "constant"])
def test_no_schedule_changes_the_betas_of_the_optimiser(name: str) -> None:
    """PyTorch's OneCycleLR replaces the first of the betas unless it is told not to."""
    weight = torch.nn.Parameter(torch.zeros(2))
    settings = OptimizerSettings(name="adamw", lr=1e-3, betas=(0.8, 0.95))
    optimizer = settings.build([{"params": [weight], "lr": 1e-3, "weight_decay": 0.0}])
    schedule = SchedulerSettings(name=name, warmup=0.3).build(optimizer, 10)
    for _ in range(9):
        assert optimizer.param_groups[0]["betas"] == (0.8, 0.95)
        optimizer.step()
        schedule.step()
