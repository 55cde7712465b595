"""What a temperature does to the probabilities of each loss: the decided grade is the rule's, before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.optimize import minimize_scalar

from retinai.config.build import build
from retinai.config.paths import conf_dir
from retinai.losses.base import Criterion, losses_for
from retinai.metrics.decisions import decide
from retinai.prediction.calibration.temperature import fit_temperature, scale
from retinai.tasks.known import DR_GRADE, ODIR_COURSE
from retinai.tasks.task import Task

CONF = conf_dir() / "loss"
CASES = [(task, name) for task in (DR_GRADE, ODIR_COURSE) for name in losses_for(task)]
ORDINAL = ("corn", "coral", "regression")


def criterion_of(name: str, task: Task = DR_GRADE, **changes: Any) -> Criterion:
    spec = yaml.safe_load((CONF / f"{name}.yaml").read_text()) | changes
    return build(spec, Criterion, task=task, class_counts=[9, 8, 7, 6, 5][: task.num_classes], num_samples=35)


@torch.no_grad()
def random_rows(criterion: Criterion, spread: float) -> torch.Tensor:
    """Probabilities, float32, of 2000 random rows of logits, among them zeros: a cumulative probability of one half."""
    generator = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(2000, criterion.num_outputs, generator=generator)
    logits[:200] *= (torch.rand(200, criterion.num_outputs, generator=generator) < 0.5).float()
    return criterion.probabilities(logits).float()


@pytest.mark.parametrize(("task", "name"), CASES, ids=lambda x: x if isinstance(x, str) else x.kind)
@pytest.mark.parametrize("spread", [0.3, 3.0, 30.0])
def test_the_decision_is_the_rule_applied_to_the_scaled_probabilities(task: Task, name: str, spread: float) -> None:
    criterion = criterion_of(name, task)
    rows = random_rows(criterion, spread)
    p = rows.double().numpy()
    decided = decide(p, criterion.decision_rule)
    assert decide(rows, criterion.decision_rule).tolist() == decided.tolist()
    rng = np.random.default_rng(0)
    for temperature in [0.1, 10.0, *np.exp(rng.uniform(np.log(0.1), np.log(10), 6))]:
        said = scale(p, temperature, task.scalings[criterion.decision_rule])
        np.testing.assert_array_equal(decide(said, criterion.decision_rule), decided)
        assert said.min() >= 0 and said.max() <= 1
        if task.kind == "grade":
            np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ORDINAL)
def test_the_fitted_temperature_is_that_of_the_cumulative_logits(name: str) -> None:
    criterion = criterion_of(name)
    assert criterion.decision_rule == "median"
    generator = torch.Generator().manual_seed(1)
    p = criterion.probabilities(1.5 * torch.randn(400, criterion.num_outputs, generator=generator).double())
    p = p.detach().double().numpy()
    above = p[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    logits = np.log(above.clip(1e-12)) - np.log(p.cumsum(axis=1)[:, :-1].clip(1e-12))

    def likelihoods(temperature: float) -> np.ndarray:
        scaled = 1 / (1 + np.exp(-logits / temperature))
        return np.hstack([np.ones((400, 1)), scaled]) - np.hstack([scaled, np.zeros((400, 1))])

    rng = np.random.default_rng(2)
    targets = np.array([rng.choice(5, p=row / row.sum()) for row in likelihoods(2.0)])
    best = minimize_scalar(
        lambda t: -np.log(likelihoods(t)[np.arange(400), targets]).mean(), bounds=(0.1, 10), method="bounded"
    ).x
    found = fit_temperature(p, targets, DR_GRADE.scalings[criterion.decision_rule])
    assert found == pytest.approx(best, rel=1e-3) and 1.5 < found < 3
