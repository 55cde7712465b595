"""Optimisers, parameter groups and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from retinai.encoders.encoder import Encoder
from retinai.encoders.tuning import NET
from retinai.errors import ConfigError, MissingExtraError


def _adamw_8bit(*args: Any, **kwargs: Any) -> torch.optim.Optimizer:
    try:
        import bitsandbytes
    except ImportError as error:
        raise MissingExtraError("bitsandbytes", "llava") from error
    optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(*args, **kwargs)
    return optimizer


_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "adamw_8bit": _adamw_8bit,
}
_SCHEDULERS = ("onecycle", "cosine", "constant")


@dataclass(frozen=True)
class OptimizerSettings:
    """Which optimiser, and how its learning rate differs over the depth of the network.

    Args:
        name: `adamw` (decoupled weight decay), `adam` (decay added to the gradient) or `adamw_8bit`
            (AdamW with moments in 8 bits).
        lr: Learning rate of the encoder's last layers.
        weight_decay: Decay of weights; norms, biases and position embeddings have none.
        betas: Adam's decay rates.
        eps: Adam's epsilon.
        layer_decay: Factor per block from the last one down, in (0, 1]; 1 is the same rate everywhere.
        head_lr_multiplier: Factor of the fresh parts' rate: head, attention, thresholds.

    Source: layer decay as in Bao et al., "BEiT", ICLR 2022; AdamW by Loshchilov & Hutter, ICLR 2019; 8 bits by
        Dettmers et al., "8-bit Optimizers via Block-wise Quantization", ICLR 2022.
    """

    name: str = "adamw"
    lr: float = 5e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    layer_decay: float = 1.0
    head_lr_multiplier: float = 1.0

    def __post_init__(self) -> None:
        problems = []
        if self.name not in _OPTIMIZERS:
            problems.append(f"optimizer.name={self.name} is unknown; valid: {', '.join(_OPTIMIZERS)}")
        if not 0 < self.lr < math.inf:
            problems.append(f"optimizer.lr={self.lr} must be above 0 and finite")
        if not 0 < self.layer_decay <= 1:
            problems.append(f"optimizer.layer_decay={self.layer_decay} is out of range (above 0, up to 1)")
        if problems:
            raise ConfigError(problems)

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return the optimiser over parameter groups that carry their own `lr` and `weight_decay`."""
        return _OPTIMIZERS[self.name](groups, lr=self.lr, betas=tuple(map(float, self.betas)), eps=self.eps)


@dataclass(frozen=True)
class SchedulerSettings:
    """How the learning rate moves, per optimiser step.

    Args:
        name: `onecycle`, `cosine` (linear warm-up, then half a cosine) or `constant` (after warm-up).
        warmup: Share of all steps in which the rate rises, in [0, 1).
        start_factor: Onecycle: the first rate as a share of the highest.
        final_factor: The last rate as a share of the highest (onecycle, cosine).
        flat: Cosine: share of all steps at the end in which the rate is the last one, in [0, 1).

    Source: onecycle by Smith & Topin, "Super-Convergence", 2018, as PyTorch implements it; cosine by
        Loshchilov & Hutter, "SGDR", ICLR 2017.
    """

    name: str = "onecycle"
    warmup: float = 0.3
    start_factor: float = 0.04
    final_factor: float = 1e-4
    flat: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        if self.name not in _SCHEDULERS:
            problems.append(f"scheduler.name={self.name} is unknown; valid: {', '.join(_SCHEDULERS)}")
        if not 0 <= self.warmup < 1:
            problems.append(f"scheduler.warmup={self.warmup} is out of range (0 up to, not including, 1)")
        if not 0 <= self.flat < 1 or self.warmup + self.flat >= 1:
            problems.append(f"scheduler.flat={self.flat} leaves no steps between warm-up and end; warmup + flat < 1")
        if problems:
            raise ConfigError(problems)

    def build(self, optimizer: torch.optim.Optimizer, total_steps: float) -> LRScheduler:
        """Return the schedule over `total_steps` optimiser steps.

        Raises:
            ConfigError: If the number of steps is not known (training without an end).
        """
        if self.name == "constant" and not self.warmup:
            return LambdaLR(optimizer, _constant)
        if not math.isfinite(total_steps):
            raise ConfigError([f"scheduler={self.name} needs an end of training; set trainer.max_epochs"])
        steps = max(int(total_steps), 1)
        if self.name == "onecycle":
            # PyTorch divides by the length of both phases, so neither may be shorter than a step.
            pct = min(max(self.warmup, 2 / (steps + 1)), 0.99)
            highest = [group["lr"] for group in optimizer.param_groups]
            start = 1 / self.start_factor
            return OneCycleLR(
                optimizer, max_lr=highest, total_steps=max(steps, 3), pct_start=pct, div_factor=start,
                final_div_factor=self.start_factor / self.final_factor,
                cycle_momentum=False,  # else PyTorch replaces the first of optimizer.betas
            )  # fmt: skip
        shape = _warm_constant if self.name == "constant" else _warm_cosine
        warm = round(self.warmup * steps)
        falling = steps - round(self.flat * steps)
        return LambdaLR(optimizer, lambda step: shape(step, warm, falling, self.final_factor))


def _constant(step: int) -> float:
    return 1.0


def _warm_constant(step: int, warm: int, steps: int, final: float) -> float:
    return min(1.0, (step + 1) / max(warm, 1))


def _warm_cosine(step: int, warm: int, steps: int, final: float) -> float:
    if step < warm:
        return (step + 1) / warm
    progress = min(1.0, (step - warm) / max(steps - warm - 1, 1))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(
    network: nn.Module, settings: OptimizerSettings, extra: Iterable[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """Return parameter groups by depth and by whether weight decay applies.

    A parameter of depth d (0: stem, N + 1: tail) has the rate lr * layer_decay ** (N + 1 - d).
    Vectors (norms, biases, scales) and what the encoder names (position embeddings, tokens) have no decay.

    Args:
        network: A network; beside its `.encoder` (an `Encoder`), where it has one, the other parts count as fresh.
        settings: Rates and decays.
        extra: More parameters that train, such as an ordinal loss's thresholds.

    Returns:
        Groups with `params`, `lr`, `weight_decay` and `name`, in a fixed order.
    """
    found = getattr(network, "encoder", None)
    encoder = found if isinstance(found, Encoder) else None
    depths = {} if encoder is None else encoder.depths()
    last = 0 if encoder is None else encoder.num_blocks + 1
    undecayed = set() if encoder is None else encoder.undecayed()
    groups: dict[str, dict[str, Any]] = {}

    def add(parameter: nn.Parameter, place: str, lr: float, decays: bool) -> None:
        name = f"{place}{'' if decays else '_no_decay'}"
        decay = settings.weight_decay if decays else 0.0
        group = groups.setdefault(name, {"params": [], "lr": lr, "weight_decay": decay, "name": name})
        group["params"].append(parameter)

    for key, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim > 1 and key.rpartition(".")[2] not in undecayed
        inner = key.removeprefix(NET)
        if encoder is None:
            add(parameter, "network", settings.lr, decays)
        elif inner == key:
            add(parameter, "head", settings.lr * settings.head_lr_multiplier, decays)
        elif settings.layer_decay == 1.0:
            add(parameter, "backbone", settings.lr, decays)
        else:
            depth = depths[inner]
            add(parameter, f"layer_{depth}", settings.lr * settings.layer_decay ** (last - depth), decays)
    for parameter in extra:
        if parameter.requires_grad:
            add(parameter, "head", settings.lr * settings.head_lr_multiplier, False)
    return list(groups.values())
