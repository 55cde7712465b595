"""Distillation and consistency losses against timm's distillation task and torch's distributions."""

from __future__ import annotations

import timm
import torch
from timm.task import LogitDistillationTask
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.nn import functional

from retinai.losses.balanced import EffectiveNumber
from retinai.losses.divergence import distillation_loss, soften, symmetric_kl
from retinai.losses.ordinal import Coral, Corn
from retinai.losses.regression import GradeRegression
from retinai.tasks.known import DR_GRADE, ODIR_COURSE


def logits(seed: int, shape: tuple[int, int] = (6, 5)) -> torch.Tensor:
    return 4 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_loss_and_gradient_are_those_of_timms_task() -> None:
    student, teacher = (timm.create_model("test_efficientnet", num_classes=5).eval() for _ in range(2))
    with torch.no_grad():
        teacher.get_classifier().weight.mul_(20)  # so that it is sure of something
    task = LogitDistillationTask(
        student, teacher, torch.nn.CrossEntropyLoss(label_smoothing=0.1), task_loss_weight=0.3, temperature=4.0,
        verbose=False,
    ).eval()  # fmt: skip
    images, targets = torch.randn(6, 3, 64, 64), torch.tensor([0, 1, 2, 3, 4, 0])
    theirs = task(images, targets)["loss"]
    with torch.no_grad():
        soft = soften(teacher(images), 4.0, "categorical")
    out = student(images)
    kd, ce = (
        distillation_loss(out, soft, 4.0, "categorical"),
        functional.cross_entropy(out, targets, label_smoothing=0.1),
    )
    ours = 0.7 * kd + 0.3 * ce
    assert float(kd.detach()) > 1e-3
    torch.testing.assert_close(ours, theirs)
    weight = student.get_classifier().weight
    torch.testing.assert_close(*(torch.autograd.grad(loss, weight)[0] for loss in (ours, theirs)))


def test_multilabel_is_the_mean_divergence_of_yes_and_no() -> None:
    student, teacher = logits(0), logits(1)
    expected = kl_divergence(Bernoulli(logits=teacher / 3), Bernoulli(logits=student / 3)).mean() * 9
    torch.testing.assert_close(
        distillation_loss(student, soften(teacher, 3.0, "bernoulli"), 3.0, "bernoulli"), expected
    )


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn() -> None:
    for distribution in ("categorical", "bernoulli"):
        own = logits(2).requires_grad_()
        loss = distillation_loss(own, soften(own.detach(), 4.0, distribution), 4.0, distribution)
        loss.backward()
        assert abs(float(loss.detach())) < 1e-5 and float(own.grad.abs().max()) < 1e-5


def test_extreme_logits_stay_finite() -> None:
    sure = torch.tensor([[200.0, -200.0, 0.0, 0.0, 0.0]])
    for distribution in ("categorical", "bernoulli"):
        for value in (
            distillation_loss(-sure, soften(sure, 1.0, distribution), 1.0, distribution),
            symmetric_kl(sure, -sure, distribution),
        ):
            assert torch.isfinite(value) and value > 10


def test_symmetric_divergence_is_the_mean_of_both_directions() -> None:
    a, b = logits(3), logits(4)
    p, q = Categorical(logits=a), Categorical(logits=b)
    torch.testing.assert_close(
        symmetric_kl(a, b, "categorical"), 0.5 * (kl_divergence(p, q) + kl_divergence(q, p)).mean()
    )
    p, q = Bernoulli(logits=a), Bernoulli(logits=b)
    expected = 0.5 * (kl_divergence(p, q) + kl_divergence(q, p)).mean()
    torch.testing.assert_close(symmetric_kl(a, b, "bernoulli"), expected)
    assert float(symmetric_kl(a, a, "categorical")) == 0


def test_class_logits_give_back_the_probabilities_of_any_loss() -> None:
    for criterion_class in (Corn, Coral, GradeRegression):
        criterion = criterion_class(task=DR_GRADE, class_counts=[5, 4, 3, 2, 1])
        out = logits(5, (6, criterion.num_outputs))
        back = criterion.class_logits(out).softmax(dim=1)
        torch.testing.assert_close(back, criterion.probabilities(out).float().detach(), atol=1e-6, rtol=1e-4)
        assert not criterion.gives_class_logits


def test_smoothing_beside_class_weights() -> None:
    out, targets = logits(6), torch.tensor([0, 1, 2, 3, 4, 1])
    criterion = EffectiveNumber(task=DR_GRADE, class_counts=[90, 40, 30, 20, 10], beta=0.99, label_smoothing=0.1)
    weights, logs = criterion.class_weights, out.log_softmax(dim=1)
    # Szegedy's smoothed target, each class's term weighed; divided by the weight of the true classes.
    smooth = 0.9 * torch.eye(5)[targets] + 0.1 / 5
    expected = -(smooth * weights * logs).sum() / weights[targets].sum()
    torch.testing.assert_close(criterion(out, targets), expected)

    several = EffectiveNumber(task=ODIR_COURSE, class_counts=[9, 6, 3], num_samples=20, label_smoothing=0.2)
    answers, labels = logits(7, (6, 3)), torch.randint(0, 2, (6, 3), generator=torch.Generator().manual_seed(0)).float()
    weight = torch.where(labels == 1, several.class_weights, torch.ones(3))
    expected = (
        weight * functional.binary_cross_entropy_with_logits(answers, 0.8 * labels + 0.1, reduction="none")
    ).mean()
    torch.testing.assert_close(several(answers, labels), expected)
