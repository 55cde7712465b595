"""The loop: order, parts of a batch, steps that build on each other, and steps that are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from module_factory import make_classifier, make_loader

from retinai.errors import UserError
from retinai.prediction.predictor import Predictor, Results, choose_device, split_batch
from retinai.prediction.steps import PredictionStep, Probabilities


def step(gives: Any, gradients: bool = False) -> PredictionStep:
    class Step(PredictionStep):
        name = "made up"
        needs_gradients = gradients

        def run(self, module: Any, batch: Any, found: Any) -> dict[str, Any]:
            return gives(module, batch, found)

    return Step()


def run(*steps: PredictionStep, largest: int | None = None) -> Results:
    module = make_classifier()
    module.largest_batch = largest
    return Predictor(module, "cpu", progress=False).run(make_loader(), steps or None)


def test_a_module_is_asked_for_its_steps_and_runs_in_evaluation_mode() -> None:
    results = run()
    assert results.ids == [f"s{index}" for index in range(16)] and set(results.values) == {"probability"}
    module = make_classifier().eval()
    with torch.no_grad():
        expected = torch.cat([module.predict_probabilities(batch["image"]) for batch in make_loader()])
    np.testing.assert_array_equal(results["probability"], expected.numpy())


def test_parts_are_joined_in_order() -> None:
    whole, parts = run(), run(largest=3)
    assert parts.ids == whole.ids
    np.testing.assert_allclose(parts["probability"], whole["probability"], atol=1e-6)
    batch = {"image": torch.arange(5), "id": list("abcde"), "findings": [None] * 5}
    assert [part["id"] for part in split_batch(batch, 2)] == [["a", "b"], ["c", "d"], ["e"]]
    assert [part["image"].tolist() for part in split_batch(batch, 4)] == [[0, 1, 2, 3], [4]]
    assert next(split_batch(batch, None)) is batch


def test_only_steps_that_ask_for_gradients_get_them() -> None:
    def grad(module: Any, batch: Any, found: Any) -> dict[str, Any]:
        return {"on": [torch.is_grad_enabled()] * len(batch["id"])}

    assert not any(run(step(grad))["on"]) and all(run(step(grad, gradients=True))["on"])


def test_a_step_builds_on_those_before_it() -> None:
    doubled = step(lambda module, batch, found: {"twice": 2 * found["probability"].bfloat16()})
    results = run(Probabilities(), doubled)
    np.testing.assert_allclose(results["twice"], 2 * results["probability"], rtol=1e-2)
    assert results.columns() == {}  # several values per photograph are no column


@pytest.mark.parametrize(
    ("gives", "told"),
    [
        (lambda module, batch, found: {"few": [1]}, "1 values of 'few' for 8 photographs"),
        (lambda module, batch, found: {"probability": found["probability"]}, "an earlier step gave already"),
    ],
)
def test_results_that_cannot_be_told_apart_are_refused(gives: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        run(Probabilities(), step(gives))


def test_a_device_that_is_not_there_is_told() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="valid: auto, cpu, gpu"):
        choose_device("tpu")
