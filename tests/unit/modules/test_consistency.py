"""Turning photographs by any angle, and what a change of mind costs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from module_factory import fit, make_classifier, section
from scipy import ndimage

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import ConfigError
from retinai.modules.consistency import ConsistencySettings, background, draw_angles, rotate
from retinai.tasks.known import DR_GRADE, ODIR_COURSE

BLACK = torch.tensor([-2.0, -1.0, -0.5])


def test_quarter_turns_are_exact() -> None:
    images = torch.randn(3, 3, 17, 17)
    turned = rotate(images, torch.tensor([0.0, 90.0, 180.0]), BLACK)
    for k in range(3):
        torch.testing.assert_close(turned[k], torch.rot90(images[k], k, (1, 2)), atol=1e-4, rtol=1e-4)


def test_any_angle_is_scipys_bilinear_rotation_with_the_background_in_the_corners() -> None:
    # A blob inside a disc of background: the frame's edge, where the two extrapolate differently, is background.
    y, x = np.mgrid[:64, :64]
    blob = np.exp(-((x - 24) ** 2 + (y - 36) ** 2) / 60.0) * (np.hypot(x - 31.5, y - 31.5) < 28)
    images = torch.tensor(blob, dtype=torch.float32).expand(1, 3, 64, 64) + BLACK.view(1, 3, 1, 1)
    turned = rotate(images, torch.tensor([37.0]), BLACK)[0]
    for channel in range(3):
        level = float(BLACK[channel])
        expected = ndimage.rotate(blob + level, 37.0, reshape=False, order=1, mode="constant", cval=level)
        np.testing.assert_allclose(turned[channel].numpy(), expected, atol=1e-3)
    assert torch.allclose(turned[:, 0, 0], BLACK)


def test_background_is_black_or_grahams_grey_after_normalisation() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
    black = background(Preprocessing(32, mean, std))
    torch.testing.assert_close(black, torch.tensor([-2.5, -1.6, -0.6]))
    grey = background(Preprocessing(32, mean, std, ben_graham=True))
    torch.testing.assert_close(grey * torch.tensor(std) + torch.tensor(mean), torch.full((3,), 128 / 255))


def test_angles_are_spread_over_the_range() -> None:
    torch.manual_seed(0)
    angles = draw_angles(4000, 120.0)
    assert float(angles.min()) > -120 and float(angles.max()) < 120
    assert float(angles.std()) == pytest.approx(240 / math.sqrt(12), rel=0.05)
    off_axis = (angles / 90 - (angles / 90).round()).abs() > 0.02
    assert float(off_axis.float().mean()) > 0.9


@pytest.mark.parametrize("task", [DR_GRADE, ODIR_COURSE], ids=lambda t: t.kind)
def test_the_penalty_is_logged_and_added(task: Any) -> None:
    consistent = make_classifier(task, consistency={"name": "rotation", "weight": 100.0, "degrees": 180.0})
    metrics = fit(consistent, 1).callback_metrics
    assert float(metrics["train/consistency"]) > 0
    assert float(metrics["train/loss"]) > 100 * float(metrics["train/consistency"])
    off = fit(make_classifier(task), 1).callback_metrics
    assert "train/consistency" not in off


def test_an_ordinal_student_can_be_consistent() -> None:
    module = make_classifier(loss=section("loss", "corn"), consistency={"name": "rotation"})
    assert float(fit(module, 1).callback_metrics["train/consistency"]) > 0


def test_bad_settings_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ConsistencySettings("rotaton", -1.0, 270.0)
    assert len(caught.value.problems) == 3
    assert not ConsistencySettings("rotation", weight=0.0).on
