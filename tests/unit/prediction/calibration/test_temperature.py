"""Temperature scaling against PyTorch on the logits that the probabilities came from."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from retinai.metrics.decisions import decide
from retinai.prediction.calibration.temperature import (
    SCALINGS,
    calibrated_probabilities,
    fit_temperature,
    negative_log_likelihood,
    scale,
)
from retinai.tasks.known import DR_GRADE, ODIR_8

RULES = {**DR_GRADE.scalings, **ODIR_8.scalings}


def some_logits(scaling: str, n: int = 300) -> tuple[Tensor, Tensor]:
    """Overconfident logits (`cumulative`: of being above each grade); labels are drawn at a temperature of 2.5."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(n, 5, generator=generator, dtype=torch.float64)
    if scaling == "cumulative":
        logits = logits[:, :1] - 4 * torch.rand(n, 4, generator=generator, dtype=torch.float64).cumsum(1)
    if scaling == "sigmoid":
        return logits, torch.bernoulli((logits / 2.5).sigmoid(), generator=generator)
    return logits, torch.multinomial(probabilities_of(logits / 2.5, scaling), 1, generator=generator)[:, 0]


def probabilities_of(logits: Tensor, scaling: str) -> Tensor:
    if scaling == "cumulative":
        above = functional.pad(functional.pad(logits.sigmoid(), (1, 0), value=1.0), (0, 1), value=0.0)
        return above[:, :-1] - above[:, 1:]
    return logits.softmax(1) if scaling == "softmax" else logits.sigmoid()


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.7])
def test_scaling_equals_dividing_the_logits(scaling: str, temperature: float) -> None:
    logits, _ = some_logits(scaling)
    expected = probabilities_of(logits / temperature, scaling)
    found = scale(probabilities_of(logits, scaling).numpy(), temperature, scaling)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # Float32, as networks give it, is nearly as good.
    np.testing.assert_allclose(
        scale(probabilities_of(logits, scaling).float().numpy(), temperature, scaling),
        expected,
        atol=1e-5 if scaling == "softmax" else 2e-3,
    )


@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_fit_is_that_of_lbfgs_on_the_logits(scaling: str) -> None:
    logits, targets = some_logits(scaling)
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        scaled = logits / log_temperature.exp()
        if scaling == "sigmoid":
            return functional.binary_cross_entropy_with_logits(scaled, targets)
        return functional.nll_loss(probabilities_of(scaled, scaling).log(), targets)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss().backward()
        return loss()

    optimizer.step(closure)
    p = probabilities_of(logits, scaling).numpy()
    found = fit_temperature(p, targets.long().numpy(), scaling)
    assert found == pytest.approx(float(log_temperature.detach().exp()), rel=1e-3)
    assert 2 < found < 3
    nll = negative_log_likelihood(p, targets.long().numpy(), scaling, found).mean()
    assert nll == pytest.approx(float(loss().detach()), rel=1e-5)


def test_certainty_has_an_end_and_the_most_probable_grade_stays() -> None:
    p = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3], [np.nan] * 3])
    soft = scale(p, 2.0, "softmax")
    # By hand: 1e-12 counts for 0, so sqrt gives 1 : 1e-6 : 1e-6.
    np.testing.assert_allclose(soft[0], np.array([1, 1e-6, 1e-6]) / (1 + 2e-6))
    roots = np.sqrt([0.2, 0.5, 0.3])
    np.testing.assert_allclose(soft[1], roots / roots.sum())
    assert soft[:2].argmax(1).tolist() == [0, 1] and np.isnan(soft[2]).all()
    assert np.isfinite(scale(np.array([[0.0, 1.0, 0.5]]), 0.1, "sigmoid")).all()
    assert scale(np.array([[0.5]]), 5.0, "sigmoid")[0, 0] == 0.5
    assert calibrated_probabilities(p, None) is p
    np.testing.assert_array_equal(calibrated_probabilities(p, {"temperature": 2.0, "scaling": "softmax"}), soft)


def test_ordered_grades_by_hand_and_at_their_ends() -> None:
    p = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [np.nan] * 3])
    soft = scale(p, 2.0, "cumulative")
    # P(above 0) = .8 has the odds 4, P(above 1) = .3 the odds 3/7; half the logit is the root of the odds.
    above = [2 / 3, np.sqrt(3 / 7) / (1 + np.sqrt(3 / 7))]
    np.testing.assert_allclose(soft[0], [1 - above[0], above[0] - above[1], above[1]])
    # A certain grade is softened towards all others, nearest and farthest alike, and the mirror image is the same.
    assert (soft[1] > 0).all() and soft[1, 0] > 0.999 and np.isnan(soft[3]).all()
    np.testing.assert_allclose(soft[1], soft[2][::-1])
    np.testing.assert_allclose(scale(p[:3], 0.1, "cumulative").sum(1), 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("concentration", [0.02, 0.3, 3.0])
def test_no_temperature_changes_a_decision(rule: str, concentration: float) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(5, concentration), 3000).astype(np.float32)
    p[:5] = np.eye(5)
    p[5:9] = [[0.5, 0.5, 0, 0, 0], [0.2, 0.3, 0.2, 0.3, 0], [0.25, 0.25, 0, 0.25, 0.25], [0.1, 0.4, 0, 0, 0.5]]
    for temperature in (0.1, 0.7, 1.0, 2.5, 10.0):
        found = decide(scale(p, temperature, RULES[rule]), rule)
        np.testing.assert_array_equal(found, decide(p.astype(np.float64), rule))


def test_senseless_requests_are_refused() -> None:
    p = np.full((2, 2), 0.5)
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive"):
            scale(p, temperature, "softmax")
    with pytest.raises(ValueError, match="scaling 'grade' is unknown"):
        scale(p, 2.0, "grade")
    with pytest.raises(ValueError, match="photographs"):
        fit_temperature(p[:0], np.zeros(0, int), "softmax")


def test_scaling_needs_nothing_but_numpy() -> None:
    heavy = "{'torch', 'scipy', 'sklearn', 'matplotlib', 'lightning'}"
    modules = "retinai.prediction.calibration.temperature, retinai.prediction.predictions"
    code = f"import sys, {modules}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
