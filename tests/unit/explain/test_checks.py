"""Checks of maps, on a network whose answer is known and against scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from module_factory import make_classifier, section
from scipy.stats import spearmanr

from retinai.explain.checks import EDGES, RANDOM, Check, rank_correlation, shuffle_weights, summarise_checks
from retinai.explain.run import Carried
from retinai.explain.step import Maps
from retinai.prediction.steps import run_steps

SIZE = 64


class Bright(torch.nn.Module):
    """The head of a classifier that says `mild` the more, the brighter its upper left corner is."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.encoder, self.attention, self.branches = network.encoder, None, network.branches
        self.head = network.head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        read = images[:, :, :16, :16].abs().mean(dim=(1, 2, 3)) * 8
        return torch.stack([torch.zeros_like(read), read, *[torch.zeros_like(read)] * 3], dim=1)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, float]]:
    module = make_classifier(backbone=section("backbone", "resnet18", weights="none", input_size=SIZE)).eval()
    module.network = Bright(module.network)
    step = Maps(module, ["occlusion"], target="mild")
    check = Check(step, "last", module, limit=3)
    draw = torch.Generator().manual_seed(0)
    batch = {
        "id": list("abcd"),
        "image": torch.randn(4, 3, SIZE, SIZE, generator=draw),
        "field_of_view": torch.ones(4, SIZE, SIZE, dtype=torch.bool),
    }
    found = run_steps(module, batch, [step, Carried([], module.preprocessing), check])[2]["check"]
    assert found[3] == {}
    return found[:3]


def test_a_true_map_falls_faster_and_rises_earlier_than_random_ones(rows: list[dict[str, float]]) -> None:
    for row in rows:
        assert (
            row["occlusion/deletion"] < row[f"{RANDOM}/deletion"]
            and row["occlusion/deletion"] < row[f"{EDGES}/deletion"]
        )
        assert row["occlusion/insertion"] > row[f"{RANDOM}/insertion"]
    told = summarise_checks(rows, list("abc"), ["occlusion"], 200)
    assert told["methods"]["occlusion"]["faithful"] is True and told["photographs"] == 3
    value = np.mean([row["occlusion/deletion"] for row in rows])
    assert told["methods"]["occlusion"]["deletion"]["value"] == pytest.approx(value)


def test_a_map_that_does_not_depend_on_weights_is_told(rows: list[dict[str, float]]) -> None:
    """The corner is read without a weight, so shuffling them changes nothing."""
    told = summarise_checks(rows, list("abc"), ["occlusion"], 200)["methods"]["occlusion"]
    assert told["randomisation"]["value"] == pytest.approx(1, abs=1e-6) and told["depends_on_weights"] is False


def test_weights_are_shuffled_inside_each_tensor() -> None:
    module = make_classifier()
    other = shuffle_weights(module)
    for (name, ours), theirs in zip(module.network.named_parameters(), other.network.parameters(), strict=True):
        assert torch.equal(ours.flatten().sort().values, theirs.flatten().sort().values), name
    changed = [not torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True)]
    assert sum(changed) > 10


def test_rank_correlation_equals_scipys() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.integers(0, 5, (8, 8)), draw.random((8, 8))
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first.ravel(), second.ravel()).statistic)
    inside = draw.random((8, 8)) > 0.5
    assert rank_correlation(first, second, inside) == pytest.approx(spearmanr(first[inside], second[inside]).statistic)
    assert np.isnan(rank_correlation(np.ones((8, 8)), second))
