"""The topology branch and its fusions, forward, backward, and against their equations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from retinai.encoders.attention import AttentionSettings
from retinai.encoders.timm_encoder import TimmEncoder
from retinai.encoders.tuning import TuningSettings
from retinai.errors import ConfigError
from retinai.modules.image_classifier import ImageClassifier
from retinai.modules.optimization import OptimizerSettings, parameter_groups
from retinai.topology.branch import ConcatFusion, GatedFusion, PersistenceEncoder
from retinai.topology.persistence import TopologySettings

SETTINGS = TopologySettings(resolution=8, hidden=(16,), width=6)


def make_grader(fusion: str | None) -> ImageClassifier:
    torch.manual_seed(0)
    encoder = TimmEncoder("test", "test_resnet", input_size=32)
    values = SETTINGS.to_dict() | {"fusion": fusion}
    section = {"_target_": "retinai.topology.branch.TopologyBranch", **values}
    branches = None if fusion is None else {"topology": section}
    return ImageClassifier(encoder, AttentionSettings(), 5, dropout=0.1, branches=branches)


def inputs(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, 32, 32, generator=generator), torch.rand(batch, 4, 8, 8, generator=generator) * 6


@pytest.mark.parametrize("fusion", ["concat", "gated"])
def test_both_inputs_reach_the_logits_and_every_parameter_learns(fusion: str) -> None:
    grader = make_grader(fusion)
    images, topology = inputs()
    logits = grader(images, topology)
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in grader.parameters())
    still = [k for k, p in grader.named_parameters() if not p.grad.abs().sum() > 0]
    assert not [k for k in still if not k.startswith("encoder.")]  # timm's residual blocks begin at zero
    assert "encoder.net.conv1.0.weight" not in still and "encoder.net.conv1.weight" not in still
    grader.eval()
    with torch.no_grad():
        first = grader(images, topology)
        assert not torch.allclose(first, grader(images, topology.flip(0)))
        assert not torch.allclose(first, grader(images.flip(0), topology))


def test_the_gate_is_its_equation() -> None:
    fusion = GatedFusion(7, 4)
    features, topology = torch.randn(5, 7), torch.randn(5, 4)
    w, b, p, c = fusion.gate.weight, fusion.gate.bias, fusion.project.weight, fusion.project.bias
    for row in range(5):
        gate = 1 / (1 + torch.exp(-(w @ torch.cat([features[row], topology[row]]) + b)))
        expected = gate * features[row] + (1 - gate) * (p @ topology[row] + c)
        torch.testing.assert_close(fusion(features, topology)[row], expected)
    with torch.no_grad():
        fusion.gate.bias.fill_(50.0)
        torch.testing.assert_close(fusion(features, topology), features)  # open: the network's features alone
        fusion.gate.bias.fill_(-50.0)
        torch.testing.assert_close(fusion(features, topology), fusion.project(topology))


def test_concatenation_keeps_both() -> None:
    fusion = ConcatFusion(7, 4)
    features, topology = torch.randn(5, 7), torch.randn(5, 4)
    both = fusion(features, topology)
    assert both.shape == (5, fusion.num_features)
    assert torch.equal(both[:, :7], features) and torch.equal(both[:, 7:], topology)


def test_the_branch_is_the_layers_that_the_settings_name() -> None:
    branch = PersistenceEncoder(TopologySettings(hidden=[32, 16], width=8))
    linear = [(m.in_features, m.out_features) for m in branch.modules() if isinstance(m, nn.Linear)]
    assert linear == [(4 * 32 * 32, 32), (32, 16), (16, 8)]
    assert sum(isinstance(m, nn.LayerNorm) for m in branch.modules()) == 3
    assert branch(torch.zeros(2, 4, 32, 32)).shape == (2, 8)


@pytest.mark.parametrize("fusion", ["concat", "gated"])
def test_head_tuning_trains_the_branch_as_a_fresh_part(fusion: str) -> None:
    grader = make_grader(fusion)
    TuningSettings("head").apply(grader)
    trained = {k for k, p in grader.named_parameters() if p.requires_grad}
    assert trained == {k for k, _ in grader.named_parameters() if k.startswith(("branches.", "head."))}
    groups = parameter_groups(grader, OptimizerSettings(lr=1e-3, head_lr_multiplier=10.0))
    assert {g["name"] for g in groups} == {"head", "head_no_decay"}
    assert all(g["lr"] == pytest.approx(1e-2) for g in groups)


def test_missing_and_needless_images_are_told() -> None:
    images, topology = inputs()
    with pytest.raises(ConfigError, match="reads topology beside photographs, and was given 0 inputs"):
        make_grader("concat")(images)
    with pytest.raises(ConfigError, match="reads nothing beside photographs, and was given 1 inputs"):
        make_grader(None)(images, topology)
    assert make_grader(None)(images).shape == (3, 5)
