"""Training stops at the first loss that is no finite number, and nothing is written of such weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from module_factory import fit, make_classifier, section
from torch import Tensor

from retinai.errors import ConfigError, UserError
from retinai.modules.classifier import Classifier
from retinai.modules.divergence import DivergedError


class Diverging(Classifier):
    """Its loss is no number from the third batch of the second epoch on; of validation, if that is asked for."""

    at: str = "train"
    value: float = float("nan")

    def task_loss(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        loss = super().task_loss(logits, batch)
        return loss * self.value if self.at == "train" and self.global_step == 3 else loss


def diverging(at: str = "train", value: float = float("nan")) -> Diverging:
    module = make_classifier()
    module.__class__ = Diverging
    module.at, module.value = at, value
    return module


@pytest.mark.parametrize(("value", "shown"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_the_first_loss_that_is_no_number_stops_training(value: float, shown: str) -> None:
    module = diverging(value=value)
    with pytest.raises(DivergedError) as caught:
        fit(module, 3)
    said = str(caught.value)
    assert f"train/loss is {shown} at step 3 (epoch 2, batch 2, learning rate " in said
    assert "try a lower optimizer.lr" in said and "32-true" not in said
    assert all(torch.isfinite(p).all() for p in module.parameters())  # it never reached the weights


def test_before_the_first_step_the_rate_is_not_blamed() -> None:
    module = make_classifier()
    with torch.no_grad():
        module.network.head.bias[0] = float("nan")
    with pytest.raises(DivergedError, match=r"at step 0 .*backbone\.mean") as caught:
        fit(module, 1)
    assert "optimizer.lr" not in str(caught.value)


def test_a_validation_loss_that_is_no_number_stops_before_a_checkpoint_is_written(tmp_path: Path) -> None:
    module = make_classifier(optimizer=section("optimizer", "adamw", lr=1e30))
    with pytest.raises(DivergedError, match=r"(train|val)/loss is (nan|inf)"):
        fit(module, 3, [ModelCheckpoint(tmp_path, save_last=True)])
    assert not list(tmp_path.glob("*.ckpt"))


def test_weights_that_are_no_numbers_are_not_written() -> None:
    module = make_classifier()
    with torch.no_grad():
        module.network.head.bias[0] = float("inf")
    with pytest.raises(UserError, match=r"after epoch 3 .*first 'network\.head\.bias'.*lower optimizer\.lr"):
        module.on_save_checkpoint({"state_dict": module.state_dict(), "epoch": 2})


@pytest.mark.parametrize("lr", [float("inf"), float("nan"), 0.0, -1.0])
def test_a_learning_rate_is_a_finite_number_above_zero(lr: float) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr="):
        make_classifier(optimizer=section("optimizer", "adamw", lr=lr))
