"""Losses against outside oracles: PyTorch, torchvision, coral-pytorch, timm, hand calculation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from coral_pytorch.dataset import corn_label_from_logits, levels_from_labelbatch
from coral_pytorch.losses import CoralLoss, CornLoss
from sklearn.metrics import cohen_kappa_score
from timm.loss import AsymmetricLossMultiLabel
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from retinai.config.build import build
from retinai.errors import ConfigError
from retinai.losses.base import Criterion, losses_for
from retinai.losses.regression import fit_cutoffs
from retinai.metrics.decisions import decide
from retinai.metrics.grade import confusion_matrix, quadratic_weighted_kappa
from retinai.tasks.known import DR_GRADE, ODIR_COURSE

CONF = Path(__file__).parents[3] / "conf" / "loss"
NAMES = sorted(
    path.stem for path in CONF.glob("*.yaml") if path.stem != "answer"
)  # that one goes with model=llava only
COUNTS = {"grade": [40, 8, 20, 4, 6], "multilabel": [30, 12, 9]}


def make(name: str, task: Any = DR_GRADE, **changes: Any) -> Any:
    spec = yaml.safe_load((CONF / f"{name}.yaml").read_text()) | changes
    return build(spec, Criterion, task=task, class_counts=COUNTS[task.kind], num_samples=78)


@pytest.fixture
def grades() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(16, 5, generator=generator), torch.arange(16) % 5


@pytest.fixture
def labels() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(16, 3, generator=generator), (torch.rand(16, 3, generator=generator) < 0.4).float()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", [DR_GRADE, ODIR_COURSE], ids=lambda t: t.kind)
def test_every_shipped_loss_trains_or_names_the_ones_that_suit(name: str, task: Any) -> None:
    if name not in losses_for(task):
        with pytest.raises(ConfigError, match=losses_for(task)[0]):
            make(name, task)
        return
    loss = make(name, task)
    logits = torch.randn(6, loss.num_outputs, requires_grad=True)
    targets = torch.arange(6) % 5 if task.kind == "grade" else torch.eye(3).repeat(2, 1)
    value = loss(logits, targets)
    value.backward()
    assert value.ndim == 0 and torch.isfinite(value) and logits.grad is not None and logits.grad.abs().sum() > 0
    probabilities = loss.probabilities(logits.detach() * 5)
    assert probabilities.shape == (6, task.num_classes) and bool((probabilities >= 0).all())
    if task.kind == "grade":
        torch.testing.assert_close(probabilities.sum(1).float(), torch.ones(6))


def test_cross_entropy_with_smoothing_by_hand(grades: Any) -> None:
    logits, targets = grades
    log_p = logits.log_softmax(1)
    expected = -(0.9 * log_p[torch.arange(16), targets] + 0.1 * log_p.mean(1)).mean()
    torch.testing.assert_close(make("cross_entropy", label_smoothing=0.1)(logits, targets), expected)


def test_focal_of_one_label_by_hand_and_at_gamma_zero(grades: Any) -> None:
    logits, targets = grades
    p = logits.softmax(1)[torch.arange(16), targets]
    torch.testing.assert_close(make("focal", gamma=2.0)(logits, targets), (-((1 - p) ** 2) * p.log()).mean())
    torch.testing.assert_close(make("focal", gamma=0.0)(logits, targets), functional.cross_entropy(logits, targets))


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_of_several_labels_is_torchvisions(labels: Any, alpha: float | None) -> None:
    logits, targets = labels
    expected = sigmoid_focal_loss(logits, targets, alpha=-1 if alpha is None else alpha, gamma=2, reduction="mean")
    torch.testing.assert_close(make("focal", ODIR_COURSE, alpha=alpha)(logits, targets), expected)


def test_focal_is_finite_for_certain_predictions() -> None:
    logits = torch.tensor([[80.0, 0, 0, 0, 0], [0, 80.0, 0, 0, 0]], requires_grad=True)
    for gamma in (0.5, 2.0):
        make("focal", gamma=gamma)(logits, torch.tensor([0, 0])).backward()
        assert torch.isfinite(logits.grad).all()


def test_bce_and_asymmetric(labels: Any) -> None:
    logits, targets = labels
    expected = functional.binary_cross_entropy(logits.sigmoid(), targets)
    torch.testing.assert_close(make("bce", ODIR_COURSE)(logits, targets), expected)
    theirs = AsymmetricLossMultiLabel(gamma_neg=4, gamma_pos=1, clip=0.05)(logits, targets) / 48
    torch.testing.assert_close(make("asymmetric", ODIR_COURSE)(logits, targets), theirs)


def test_corn_is_coral_pytorchs(grades: Any) -> None:
    logits, targets = grades[0][:, :4], grades[1]
    loss = make("corn")
    torch.testing.assert_close(loss(logits, targets), CornLoss(5)(logits, targets))
    assert torch.equal(decide(loss.probabilities(logits * 3), "median"), corn_label_from_logits(logits * 3))


def test_coral_is_coral_pytorchs(grades: Any) -> None:
    score, targets = grades[0][:, :1], grades[1]
    loss = make("coral")
    levels = levels_from_labelbatch(targets, 5)
    torch.testing.assert_close(loss(score, targets), CoralLoss()(score + loss.biases, levels))
    expected = ((score + loss.biases).sigmoid() > 0.5).sum(1)
    assert torch.equal(decide(loss.probabilities(score), "median"), expected)


def kappa(decisions: np.ndarray, targets: np.ndarray) -> float:
    return float(quadratic_weighted_kappa(confusion_matrix(targets, decisions, 5)[None].astype(float))[0])


def test_quadratic_weighted_kappa_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    assert kappa(a, b) == pytest.approx(cohen_kappa_score(a, b, weights="quadratic"))
    assert np.isnan(kappa(np.zeros(4, int), np.zeros(4, int)))


def test_cutoffs_are_found_again_and_decide_exactly_as_they_bin() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 5, 400)
    # The network is squeezed: grade k comes out as 1 + 0.4 k, which even cut-offs read badly.
    values = 1 + 0.4 * truth + rng.normal(0, 0.08, 400)
    fitted = fit_cutoffs(values, truth, 5)
    even = kappa(np.searchsorted(np.arange(4) + 0.5, values), truth)
    found = kappa(np.searchsorted(fitted, values), truth)
    assert found > 0.97 > even and bool((np.diff(fitted) > 0).all())

    loss = make("regression")
    logits = torch.from_numpy(values - loss.offset).float()[:, None]
    before = loss(logits, torch.from_numpy(truth))
    loss.fit(logits, torch.from_numpy(truth))
    bins = torch.searchsorted(loss.cutoffs, loss.grades(logits))
    assert torch.equal(decide(loss.probabilities(logits), "median"), bins)
    assert torch.equal(decide(loss.probabilities(logits).float(), "median"), bins)
    assert loss(logits, torch.from_numpy(truth)) == before  # cut-offs are no part of the loss
    assert "cutoffs" in loss.state_dict() and "sigma" in loss.state_dict()


def test_regression_probabilities_by_hand() -> None:
    loss = make("regression", loss="mse")
    loss.sigma.fill_(0.5)
    probability = loss.probabilities(torch.tensor([[1.2 - loss.offset]]))[0]
    normal = [0.5 * (1 + math.erf((c - 1.2) / 0.5 / math.sqrt(2))) for c in (0.5, 1.5, 2.5, 3.5)]
    np.testing.assert_allclose(probability.numpy(), np.diff([0, *normal, 1]), atol=1e-6)
    target = torch.tensor([3])
    assert loss(torch.tensor([[1.2 - loss.offset]]), target).item() == pytest.approx(1.8**2, rel=1e-5)
