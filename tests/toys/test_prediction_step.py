"""Prediction steps that no file of the package knows run through the public API on a trained checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retinai.data.sources.aptos import AptosDataModule
from retinai.modules.grading import GradingModule
from retinai.modules.load import load_module
from retinai.prediction.predictor import Predictor
from retinai.prediction.splits import predict_split
from retinai.prediction.steps import PredictionStep, Probabilities


class Brightness(PredictionStep):
    name = "brightness"

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, module: GradingModule, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        self.sizes.append(len(batch["id"]))
        return {"brightness": batch["image"].mean(dim=(1, 2, 3)), "first_letter": [name[0] for name in batch["id"]]}


class Sensitivity(PredictionStep):
    name = "sensitivity"
    needs_gradients = True

    def run(self, module: GradingModule, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        image = batch["image"].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(module(image).amax(dim=1).sum(), image)
        return {"gradient_norm": gradient.flatten(1).norm(dim=1), "map": gradient.abs().amax(dim=1)}


@pytest.fixture
def module(tiny_checkpoint: Path) -> GradingModule:
    return load_module(tiny_checkpoint)


@pytest.fixture
def data(module: GradingModule, synthetic_aptos: Path, tiny_runs: list[Path]) -> AptosDataModule:
    options: dict[str, Any] = {"cache": tiny_runs[0].parent / "cache", "num_workers": 0, "batch_size": 7}
    return AptosDataModule(root=str(synthetic_aptos), preprocessing=module.preprocessing, **options)


def test_what_they_find_stands_in_the_table(module: GradingModule, data: AptosDataModule) -> None:
    brightness = Brightness()
    module.largest_batch = 3
    steps = [Probabilities(), brightness, Sensitivity()]
    predictions = predict_split(module, data, "test", steps=steps, accelerator="cpu")
    assert set(brightness.sizes) <= {1, 2, 3} and sum(brightness.sizes) == len(predictions)
    plain = predict_split(load_module_again(module), data, "test", accelerator="cpu")
    np.testing.assert_allclose(predictions.probabilities, plain.probabilities, atol=1e-6)
    table = predictions.to_frame()
    assert table.columns[-3:].tolist() == ["brightness", "first_letter", "gradient_norm"]
    assert set(table.columns) - set(plain.to_frame().columns) == {"brightness", "first_letter", "gradient_norm"}
    by_hand = [float(data.loader("test").dataset[i]["image"].mean() / 255) for i in range(len(table))]
    assert np.corrcoef(by_hand, table["brightness"])[0, 1] > 0.999  # normalised, so by scale and shift only
    assert table["first_letter"].tolist() == [name[0] for name in predictions.ids]
    assert (table["gradient_norm"] > 0).all()


def load_module_again(module: GradingModule) -> GradingModule:
    again = copy.deepcopy(module)
    again.largest_batch = None
    return again


def test_gradients_are_those_of_finite_differences(module: GradingModule, data: AptosDataModule) -> None:
    batch = next(iter(data.loader("test")))
    results = Predictor(module, "cpu", progress=False).run([batch], [Probabilities(), Sensitivity()])
    count, _, side, _ = batch["image"].shape
    assert results["map"].shape == (count, side, side) and list(results.columns()) == ["gradient_norm"]
    exact = copy.deepcopy(module).double()
    image = batch["image"].double().requires_grad_()
    (gradient,) = torch.autograd.grad(exact(image).amax(dim=1).sum(), image)
    way = gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    with torch.no_grad():
        rise = exact(image + 1e-5 * way).amax(dim=1) - exact(image - 1e-5 * way).amax(dim=1)
    np.testing.assert_allclose(results["gradient_norm"], rise.numpy() / 2e-5, rtol=1e-3)
    assert all(parameter.grad is None for parameter in module.parameters())
