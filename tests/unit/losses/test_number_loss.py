"""The loss of a number: in standard deviations of the training part, and back in the unit of the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import l1_loss, mse_loss, smooth_l1_loss

from retinai.errors import ConfigError, DataError
from retinai.losses.base import losses_for
from retinai.losses.number import NumberRegression
from retinai.tasks.grade import GradeTask
from retinai.tasks.number import NumberTask

AGE = NumberTask("cohort", ("age",))
AGES = np.array([40.0, 50.0, 60.0, 90.0])


@pytest.mark.parametrize(("name", "loss"), [("mse", mse_loss), ("smooth_l1", smooth_l1_loss), ("l1", l1_loss)])
def test_the_loss_is_that_of_standardised_numbers(name: str, loss: object) -> None:
    criterion = NumberRegression(task=AGE, class_counts=[4], loss=name)
    criterion.take_targets(AGES)
    logits = torch.tensor([[0.0], [1.0], [-2.0]])
    targets = torch.tensor([60.0, 40.0, 80.0])
    z = (targets - 60) / AGES.std()
    assert criterion(logits, targets).item() == pytest.approx(loss(logits[:, 0], z).item())  # type: ignore[operator]
    assert criterion.probabilities(logits)[:, 0].tolist() == pytest.approx((60 + AGES.std() * logits[:, 0]).tolist())
    again = NumberRegression(task=AGE, class_counts=[4], loss=name)
    again.load_state_dict(criterion.state_dict())  # mean and spread travel in the checkpoint
    assert torch.equal(again.probabilities(logits), criterion.probabilities(logits))


def test_one_number_for_everybody_and_other_tasks_are_refused() -> None:
    criterion = NumberRegression(task=AGE, class_counts=[4])
    with pytest.raises(DataError, match="has the number 55, so there is nothing to learn"):
        criterion.take_targets(np.full(4, 55.0))
    with pytest.raises(ConfigError, match="does not suit task 'dr'"):
        NumberRegression(task=GradeTask("dr", ("a", "b", "c")), class_counts=[1, 1, 1])
    assert losses_for(AGE) == ["number"]
