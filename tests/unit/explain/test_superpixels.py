"""KernelSHAP and LIME on superpixels, against enumeration, a linear network and integrated gradients."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
import torch
from module_factory import make_classifier

from retinai.explain.methods import Question, all_maps, integrated_gradients
from retinai.explain.superpixels import kernelshap, lime, lime_method, shapley_method, superpixels, weigh

SIZE = 64
Y, X = np.mgrid[:SIZE, :SIZE]
INSIDE = (Y - 31.5) ** 2 + (X - 31.5) ** 2 <= 30**2


def blobs(count: int = 1) -> torch.Tensor:
    """Smooth pictures, (count, 3, S, S)."""
    coarse = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic")


def test_superpixels_cover_the_field_of_view_and_nothing_else() -> None:
    image = blobs()[0]
    parts = superpixels(image, INSIDE, 20)
    assert ((parts > 0) == INSIDE).all() and 10 <= parts.max() <= 30
    assert set(np.unique(parts)) == set(range(parts.max() + 1))
    assert (superpixels(image, np.zeros_like(INSIDE)) == 0).all()


def test_shapley_values_equal_those_of_an_enumeration_of_all_coalitions() -> None:
    """Eight strips, of which some count together: two of them only when both are there, two others cancel."""
    labels = torch.from_numpy(X // 8 + 1)
    image, baseline = torch.ones(1, 3, SIZE, SIZE), torch.zeros(1, 3, SIZE, SIZE)

    def of_strips(kept: torch.Tensor) -> torch.Tensor:
        return kept[:, 0] + 3 * kept[:, 1] * kept[:, 2] - 2 * kept[:, 3] * (1 - kept[:, 4]) + kept[:, 5:].prod(dim=1)

    def score(pixels: torch.Tensor) -> torch.Tensor:
        return of_strips(pixels[:, 0, 0, ::8])

    expected = []
    for one in range(8):
        total, others = 0.0, [k for k in range(8) if k != one]
        for size in range(8):
            weight = factorial(size) * factorial(7 - size) / factorial(8)
            for coalition in combinations(others, size):
                with_it, without = torch.zeros(1, 8), torch.zeros(1, 8)
                without[0, list(coalition)] = 1
                with_it[0, [*coalition, one]] = 1
                total += weight * float(of_strips(with_it) - of_strips(without))
        expected.append(total)
    found = weigh(shapley_method(score), image, baseline, labels, 4000)
    np.testing.assert_allclose(found, expected, atol=0.06)
    assert found.sum() == pytest.approx(sum(expected), abs=1e-3)
    with torch.no_grad():
        assert found.sum() == pytest.approx(float(score(image) - score(baseline)), abs=1e-3)


class Linear(torch.nn.Module):
    """A network whose score for every class is one weighted sum of the pixels."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.criterion, self.task = module.criterion, module.task
        self.weights = torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) / SIZE

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images * self.weights).sum(dim=(1, 2, 3))[:, None].repeat(1, 5)


def test_on_a_linear_network_all_methods_give_the_same_parts() -> None:
    module: Any = Linear(make_classifier())
    images = blobs(2)
    inside = torch.from_numpy(INSIDE).repeat(2, 1, 1)
    question = Question(module, (images,), torch.tensor([[0], [3]]), inside, torch.nn.Identity())
    ig, shap, weights = integrated_gradients(question), kernelshap(question, 300), lime(question, 300)
    for i in range(2):
        parts = superpixels(images[i], INSIDE)
        sums = [np.bincount(parts.ravel(), m[i, 0].numpy().ravel(), parts.max() + 1)[1:] for m in (ig, shap, weights)]
        np.testing.assert_allclose(sums[1], sums[0], atol=2e-3)
        assert np.corrcoef(sums[2], sums[0])[0, 1] > 0.98  # a ridge penalty makes LIME's weights smaller
        assert (shap[i, 0].numpy()[~INSIDE] == 0).all()


def test_one_superpixel_is_the_whole_difference() -> None:
    image, labels = torch.ones(1, 3, SIZE, SIZE), torch.from_numpy(INSIDE.astype(np.int64))
    for method in (shapley_method, lime_method):
        found = weigh(method(lambda pixels: 2 * pixels.mean(dim=(1, 2, 3))), image, torch.zeros_like(image), labels, 50)
        assert found.tolist() == [2.0]


def test_the_same_photographs_are_drawn_every_time_and_elsewhere_randomness_stays_as_it_was() -> None:
    images, baseline = torch.randn(1, 3, SIZE, SIZE), torch.zeros(1, 3, SIZE, SIZE)
    labels = torch.from_numpy(X // 8 + 1)

    def score(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean(dim=(1, 2, 3)).sin()

    for method in (shapley_method, lime_method):
        torch.manual_seed(5)
        first = weigh(method(score), images, baseline, labels, 50)
        state = torch.get_rng_state()
        torch.manual_seed(6)
        assert torch.equal(weigh(method(score), images, baseline, labels, 50), first)
        torch.manual_seed(5)
        assert torch.equal(torch.get_rng_state(), state)


def test_they_are_methods_of_explain() -> None:
    module: Any = Linear(make_classifier())
    inside = torch.stack([torch.from_numpy(INSIDE), torch.zeros(SIZE, SIZE, dtype=torch.bool)])
    question = Question(module, (blobs(2),), torch.tensor([[0, 1]] * 2), inside, torch.nn.Identity())
    for maps in all_maps(question, ["kernelshap", "lime"]).values():
        assert maps.shape == (2, 2, SIZE, SIZE) and (maps[0] != 0).any() and (maps[1] == 0).all()
