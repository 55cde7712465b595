"""Temperature scaling against PyTorch on the logits that the probabilities came from."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from retinai.metrics.temperature import fit_temperature, negative_log_likelihood, scale, stated


def some_logits(kind: str, n: int = 300) -> tuple[Tensor, Tensor]:
    """Overconfident logits: labels are drawn at a temperature of about 2.5."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(n, 5, generator=generator, dtype=torch.float64)
    if kind == "grade":
        return logits, torch.multinomial((logits / 2.5).softmax(1), 1, generator=generator)[:, 0]
    return logits, torch.bernoulli((logits / 2.5).sigmoid(), generator=generator)


def probabilities_of(logits: Tensor, kind: str) -> Tensor:
    return logits.softmax(1) if kind == "grade" else logits.sigmoid()


@pytest.mark.parametrize("kind", ["grade", "multilabel"])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.7])
def test_scaling_equals_dividing_the_logits(kind: str, temperature: float) -> None:
    logits, _ = some_logits(kind)
    expected = probabilities_of(logits / temperature, kind)
    found = scale(probabilities_of(logits, kind).numpy(), temperature, kind)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # Float32, as networks give it, is nearly as good.
    np.testing.assert_allclose(scale(probabilities_of(logits, kind).float().numpy(), temperature, kind), expected,
                               atol=2e-3 if kind == "multilabel" else 1e-5)  # fmt: skip


@pytest.mark.parametrize("kind", ["grade", "multilabel"])
def test_the_fit_is_that_of_lbfgs_on_the_logits(kind: str) -> None:
    logits, targets = some_logits(kind)
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        scaled = logits / log_temperature.exp()
        if kind == "grade":
            return functional.cross_entropy(scaled, targets)
        return functional.binary_cross_entropy_with_logits(scaled, targets)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss().backward()
        return loss()

    optimizer.step(closure)
    p = probabilities_of(logits, kind).numpy()
    found = fit_temperature(p, targets.long().numpy(), kind)
    assert found == pytest.approx(float(log_temperature.detach().exp()), rel=1e-3)
    assert 2 < found < 3
    nll = negative_log_likelihood(p, targets.long().numpy(), kind, found).mean()
    assert nll == pytest.approx(float(loss().detach()), rel=1e-6)


def test_certainty_has_an_end_and_the_most_probable_grade_stays() -> None:
    p = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3], [np.nan] * 3])
    soft = scale(p, 2.0, "grade")
    # By hand: 1e-12 counts for 0, so sqrt gives 1 : 1e-6 : 1e-6.
    np.testing.assert_allclose(soft[0], np.array([1, 1e-6, 1e-6]) / (1 + 2e-6))
    roots = np.sqrt([0.2, 0.5, 0.3])
    np.testing.assert_allclose(soft[1], roots / roots.sum())
    assert soft[:2].argmax(1).tolist() == [0, 1] and np.isnan(soft[2]).all()
    assert np.isfinite(scale(np.array([[0.0, 1.0, 0.5]]), 0.1, "multilabel")).all()
    assert scale(np.array([[0.5]]), 5.0, "multilabel")[0, 0] == 0.5
    assert stated(p, None, "grade") is p
    np.testing.assert_array_equal(stated(p, {"temperature": 2.0}, "grade"), soft)


def test_senseless_requests_are_refused() -> None:
    p = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="positive"):
        scale(p, 0.0, "grade")
    with pytest.raises(ValueError, match="kind"):
        scale(p, 2.0, "regression")
    with pytest.raises(ValueError, match="photographs"):
        fit_temperature(p[:0], np.zeros(0, int), "grade")


def test_scaling_needs_nothing_but_numpy() -> None:
    heavy = "{'torch', 'scipy', 'sklearn', 'matplotlib', 'lightning'}"
    code = f"import sys, retinai.metrics.temperature, retinai.metrics.predictions; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
