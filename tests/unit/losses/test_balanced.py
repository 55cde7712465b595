"""Class weights by hand, on the counts of the ODIR course: 800 photographs, D 517, G 163, A 142."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from retinai.config.build import build
from retinai.errors import ConfigError
from retinai.losses.balanced import effective_number, inverse_frequency
from retinai.losses.base import Criterion
from retinai.tasks.known import DR_GRADE, ODIR_COURSE
from retinai.tasks.task import Task

CONF = Path(__file__).parents[3] / "conf" / "loss"
ODIR, PHOTOGRAPHS = [517, 163, 142], 800
GRADES = [40, 8, 20, 4, 6]


def make(name: str, task: Task = ODIR_COURSE, **changes: Any) -> Any:
    spec = yaml.safe_load((CONF / f"{name}.yaml").read_text()) | changes
    counts = {"class_counts": ODIR, "num_samples": PHOTOGRAPHS} if task is ODIR_COURSE else {"class_counts": GRADES}
    return build(spec, Criterion, task=task, **counts | {k: v for k, v in changes.items() if k in counts})


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        # Negatives over positives: 283 / 517, 637 / 163, 658 / 142.
        ("class_balanced", {}, [0.5474, 3.9080, 4.6338]),
        # (1 - .999^283) / (1 - .999^517) = .24660 / .40386, and so on.
        ("effective_number", {}, [0.6106, 3.1320, 3.6415]),
        # The course: 1 / .40386, 1 / .15047, 1 / .13243, times 3, over their sum 16.673.
        ("effective_number", {"against": "labels"}, [0.4455, 1.1958, 1.3587]),
        ("class_balanced", {"against": "labels"}, [0.3840, 1.2179, 1.3981]),
        ("effective_number", {"beta": 0.0}, [1.0, 1.0, 1.0]),
        ("effective_number", {"beta": 1 - 1e-15}, [0.5474, 3.9080, 4.6338]),
    ],
)
def test_weights_of_labels_by_hand(name: str, changes: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(make(name, **changes).class_weights.numpy(), expected, rtol=2e-4)
    np.testing.assert_allclose(make(f"{name}_focal", **changes).class_weights.numpy(), expected, rtol=2e-4)


def test_positives_weigh_less_than_negatives_only_where_most_photographs_have_the_label() -> None:
    for name in ("class_balanced", "effective_number"):
        loss = make(name, class_counts=[260, 240, 20], num_samples=500)
        assert [w < 1 for w in loss.class_weights.tolist()] == [True, False, False]


def test_positives_and_negatives_of_each_label_count_the_same_in_all() -> None:
    weights = make("class_balanced").class_weights.double()
    torch.testing.assert_close(weights * torch.tensor(ODIR), PHOTOGRAPHS - torch.tensor(ODIR).double())


def test_weights_of_grades_by_hand() -> None:
    raw = np.array([0.001 / (1 - 0.999**n) for n in GRADES])
    np.testing.assert_allclose(make("effective_number", DR_GRADE).class_weights.numpy(), raw * 5 / raw.sum(), rtol=1e-5)
    raw = 1 / np.array(GRADES)
    np.testing.assert_allclose(make("class_balanced", DR_GRADE).class_weights.numpy(), raw * 5 / raw.sum(), rtol=1e-5)
    counts = torch.tensor([100, 10, 1])
    np.testing.assert_allclose(inverse_frequency(counts), [0.01, 0.1, 1])
    np.testing.assert_allclose(effective_number(counts, 0.9), [0.1 / (1 - 0.9**n) for n in (100, 10, 1)])


def test_losses_of_grades() -> None:
    generator = torch.Generator().manual_seed(3)
    logits, targets = torch.randn(16, 5, generator=generator), torch.arange(16) % 5
    loss = make("class_balanced", DR_GRADE)
    expected = functional.cross_entropy(logits, targets, weight=loss.class_weights)
    torch.testing.assert_close(loss(logits, targets), expected)
    loss = make("effective_number_focal", DR_GRADE)
    p, w = logits.softmax(1)[torch.arange(16), targets], loss.class_weights[targets]
    torch.testing.assert_close(loss(logits, targets), (w * (1 - p) ** 2 * -p.log()).sum() / w.sum())


def test_losses_of_labels() -> None:
    generator = torch.Generator().manual_seed(4)
    logits, targets = torch.randn(16, 3, generator=generator), (torch.rand(16, 3, generator=generator) < 0.4).float()
    loss = make("class_balanced")
    expected = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=loss.class_weights)
    torch.testing.assert_close(loss(logits, targets), expected)
    loss = make("effective_number_focal")
    each = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=2)
    torch.testing.assert_close(loss(logits, targets), torch.where(targets == 1, loss.class_weights * each, each).mean())


@pytest.mark.parametrize(
    ("task", "changes", "told"),
    [
        (DR_GRADE, {"class_counts": [5, 4, 3, 0, 1]}, "'severe' has no sample"),
        (ODIR_COURSE, {"class_counts": [5, 0, 3]}, "'G' has no sample"),
        (ODIR_COURSE, {"class_counts": [5, 9, 3], "num_samples": 9}, "every photograph .* has label 'G'"),
        (ODIR_COURSE, {"num_samples": None}, "needs num_samples="),
        (ODIR_COURSE, {"against": "everything"}, "valid: negatives, labels"),
        (ODIR_COURSE, {"base": "softmax"}, "valid: bce, focal"),
        (DR_GRADE, {"base": "bce"}, "valid: softmax, focal"),
        (DR_GRADE, {"beta": 1.0}, "beta=1.0 is out of range"),
        (DR_GRADE, {"beta": float("nan")}, "beta=nan is out of range"),
        (DR_GRADE, {"base": "focal", "gamma": float("inf")}, "gamma=inf is out of range"),
        (DR_GRADE, {"label_smoothing": 1.0}, "label_smoothing=1.0 is out of range"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_makes_no_finite_loss_is_refused(task: Task, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make("effective_number", task, **changes)


@pytest.mark.parametrize("name", ["focal", "asymmetric"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0, 1e4])
def test_a_focusing_without_end_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        make(name, **{"gamma" if name == "focal" else "gamma_positive": value})


@pytest.mark.parametrize("name", ["focal", "asymmetric", "effective_number_focal", "class_balanced_focal"])
def test_the_largest_focusing_has_finite_gradients(name: str) -> None:
    keys = ("gamma_negative", "gamma_positive") if name == "asymmetric" else ("gamma",)
    loss = make(name, **dict.fromkeys(keys, 100.0))
    logits = torch.tensor([[-80.0, 0.0, 80.0], [80.0, -9.0, -80.0]], requires_grad=True)
    value = loss(logits, torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(logits.grad).all()
