"""What a map explains: the logit of a class, or where grades are ordered the grade that is expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from retinai.errors import UserError
from retinai.losses.base import Criterion
from retinai.metrics.decisions import decide
from retinai.tasks.task import Task

TARGETS = ("decided", "true", "all")


def describe_score(criterion: Criterion) -> str:
    """Return what is explained, for the reader: `class logit` or `expected grade`."""
    return "class logit" if criterion.gives_class_logits else "expected grade"


def scores(criterion: Criterion, logits: Tensor, classes: Tensor) -> Tensor:
    """Return the number that is differentiated, for each photograph, shape (B,).

    Losses of ordered grades (CORN, CORAL, regression) have no logit of a class; of them it is the expected grade, the
    sum of P(grade >= k) over k, whatever the class.

    Args:
        criterion: The module's.
        logits: Outputs of the network, (B, num_outputs).
        classes: Which class, int64 (B,).
    """
    if criterion.gives_class_logits:
        return criterion.class_logits(logits).gather(1, classes[:, None])[:, 0]
    probabilities = criterion.probabilities(logits)
    grades = torch.arange(probabilities.shape[1], device=logits.device, dtype=probabilities.dtype)
    return (probabilities * grades).sum(dim=1)


def check_target(target: str, task: Task) -> None:
    """Refuse a target that the task does not have.

    Raises:
        UserError: Names the valid ones.
    """
    valid = [*TARGETS, *task.classes]
    if target not in valid:
        raise UserError(f"target={target} is unknown; valid: {', '.join(valid)}")


def target_classes(
    target: str, task: Task, probabilities: Tensor, decision_rule: str, truths: Sequence[Any] | None
) -> Tensor:
    """Return which classes get a map, for each photograph, int64 (B, T).

    Args:
        target: `decided`, `true`, `all` or the name of a class. Of a task with several labels `decided` and `true`
            are all of them: a photograph has any number of labels, and a map each is what there is to compare.
        task: The task.
        probabilities: (B, C).
        decision_rule: How probabilities become decisions.
        truths: Targets of the photographs; None where they are not labelled.

    Raises:
        UserError: If the truth is asked for and not known.
    """
    count, classes = probabilities.shape
    every = torch.arange(classes).repeat(count, 1)
    if target == "all" or (target in ("decided", "true") and task.distribution != "categorical"):
        return every
    if target in task.classes:
        return torch.full((count, 1), task.classes.index(target))
    if target == "true":
        if truths is None:
            raise UserError("target=true needs photographs with labels; use target=decided")
        return torch.as_tensor([int(truth) for truth in truths])[:, None]
    decided = decide(probabilities.float().cpu().numpy(), decision_rule)
    return torch.as_tensor(decided, dtype=torch.int64)[:, None]
