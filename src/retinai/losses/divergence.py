"""Divergences between two networks' answers: a teacher's and a student's, or those to two views of a photograph.

All of them take class logits: numbers whose softmax (a categorical task) or sigmoid (a bernoulli one) is the
probability; `Task.distribution` says which.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def class_probabilities(logits: Tensor, distribution: str) -> Tensor:
    """Return the probabilities of class logits, shape (B, C): softmax or sigmoid.

    Args:
        logits: Class logits, shape (B, C).
        distribution: `categorical` or `bernoulli`.
    """
    return logits.sigmoid() if distribution == "bernoulli" else logits.softmax(dim=1)


def soften(logits: Tensor, temperature: float, distribution: str) -> Tensor:
    """Return probabilities at a temperature: softmax(z / T), or sigmoid(z / T) of each label.

    Args:
        logits: Class logits, shape (B, C).
        temperature: T, above 0; 1 leaves the probabilities as they are, more evens them out.
        distribution: `categorical` or `bernoulli`.

    Source: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015, eq. 1.
    """
    return class_probabilities(logits.float() / temperature, distribution)


def distillation_loss(
    student_logits: Tensor, teacher_probabilities: Tensor, temperature: float, distribution: str
) -> Tensor:
    """Return T^2 KL(teacher_T || student_T), a scalar.

    Of a categorical task the divergence is summed over the classes and averaged over the batch. Of a bernoulli one
    each label is a distribution over yes and no; the mean is over samples and labels, as in binary cross-entropy,
    so that the two parts of the loss stay comparable. The factor T^2 keeps the gradient's size as T changes.

    Args:
        student_logits: Class logits, shape (B, C).
        teacher_probabilities: Probabilities at temperature T (`soften`), shape (B, C).
        temperature: T, above 0.
        distribution: `categorical` or `bernoulli`.

    Source: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """
    scaled = student_logits.float() / temperature
    if distribution == "bernoulli":
        student = torch.stack([functional.logsigmoid(scaled), functional.logsigmoid(-scaled)], dim=-1)
        teacher = torch.stack([teacher_probabilities, 1 - teacher_probabilities], dim=-1)
        divergence = functional.kl_div(student, teacher, reduction="none").sum(dim=-1).mean()
    else:
        divergence = functional.kl_div(scaled.log_softmax(dim=1), teacher_probabilities, reduction="batchmean")
    return divergence * temperature**2


def symmetric_kl(first: Tensor, second: Tensor, distribution: str) -> Tensor:
    """Return (KL(p || q) + KL(q || p)) / 2 of two sets of class logits, a scalar; gradients flow to both.

    Args:
        first: Class logits of p, shape (B, C).
        second: Class logits of q, shape (B, C).
        distribution: `categorical` (summed over classes, mean over the batch) or `bernoulli` (mean over samples and
            labels).
    """
    # KL(p || q) + KL(q || p) is the sum of (p - q) (log p - log q), which cannot fall below 0 by rounding.
    if distribution == "bernoulli":
        apart = (first.float().sigmoid() - second.float().sigmoid()) * (first.float() - second.float())
        return 0.5 * apart.mean()
    p, q = first.float().log_softmax(dim=1), second.float().log_softmax(dim=1)
    return 0.5 * ((p.exp() - q.exp()) * (p - q)).sum(dim=1).mean()
