"""The temperature of a calibration inside a graph of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from retinai.prediction.calibration.temperature import SMALLEST_GRADE, SMALLEST_LABEL


def scaled(probabilities: Tensor, calibration: Mapping[str, Any] | None) -> Tensor:
    """Return probabilities as a calibration shows them, see `prediction.calibration.temperature.scale`.

    In float32, so that they are those of `scale` within 1e-5. A probability that lies on a border of the decision is
    not kept on its side: in an ensemble the mean decides, and not a member.

    Args:
        probabilities: Float32, (B, C).
        calibration: `calibration` of a checkpoint; None leaves them as they are.

    Returns:
        Float32, (B, C).
    """
    if calibration is None or float(calibration["temperature"]) == 1.0:
        return probabilities
    temperature = float(calibration["temperature"])
    if calibration["scaling"] == "softmax":
        return torch.softmax(probabilities.clamp_min(SMALLEST_GRADE).log() / temperature, dim=1)
    if calibration["scaling"] == "sigmoid":
        inside = probabilities.clamp(SMALLEST_LABEL, 1 - SMALLEST_LABEL)
        return torch.sigmoid((inside.log() - (1 - inside).log()) / temperature)
    return _grades(torch.sigmoid(_cumulative_logits(probabilities) / temperature))


def _cumulative_logits(probabilities: Tensor) -> Tensor:
    """Return logit(P(grade > k)) for k = 0..C-2, (B, C - 1); each side is summed by itself, which keeps what is small.

    As a product with ones: every engine has that, and not every one a running sum.
    """
    classes = probabilities.shape[1]
    ones = torch.ones(classes, classes, dtype=probabilities.dtype, device=probabilities.device)
    floor = SMALLEST_GRADE * torch.arange(1, classes, dtype=probabilities.dtype, device=probabilities.device)
    up_to = probabilities @ ones.triu()[:, :-1]
    above = probabilities @ ones.tril(-1)[:, :-1]
    return torch.maximum(above, floor.flip(0)).log() - torch.maximum(up_to, floor).log()


def _grades(exceedance: Tensor) -> Tensor:
    """Return P(grade = k), (B, C), from P(grade > k), (B, C - 1), falling along each row."""
    first, last = torch.ones_like(exceedance[:, :1]), torch.zeros_like(exceedance[:, :1])
    return (torch.cat([first, exceedance], dim=1) - torch.cat([exceedance, last], dim=1)).clamp_min(0.0)
