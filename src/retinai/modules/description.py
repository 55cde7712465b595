"""What is printed of a module before training starts."""

from __future__ import annotations

from retinai.modules.base import BaseModule
from retinai.modules.optimization import OptimizerSettings


def describe_training(module: BaseModule) -> list[tuple[str, str]]:
    """Return the rows (label, value) that tell of network, parameters, what is learned, and how."""
    better = {"max": "higher", "min": "lower"}[module.mode]
    return [
        *module.describe_network(),
        ("parameters", str(module.tuning_report)),
        *module.describe_learning(),
        ("optimiser", f"{_rates(module.optimizer_settings)}, {module.scheduler_settings.name}"),
        ("monitored metric", f"{module.monitor} ({better} is better)"),
    ]


def _rates(settings: OptimizerSettings) -> str:
    told = f"{settings.name}, learning rate {settings.lr:g}, weight decay {settings.weight_decay:g}"
    if settings.layer_decay != 1.0:
        told += f", layer decay {settings.layer_decay:g}"
    if settings.head_lr_multiplier != 1.0:
        told += f", head x {settings.head_lr_multiplier:g}"
    return told
