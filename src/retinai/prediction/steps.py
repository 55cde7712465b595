"""What is found out of each photograph when a module predicts: one class per kind of result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning import LightningModule

PROBABILITY = "probability"


class PredictionStep(ABC):
    """One kind of result of a prediction; `Predictor.run` takes several and runs them in order on each batch.

    A step may use what the steps before it found. Subclasses set `name` and write `run`; values that cannot simply be
    joined over the batches need a `collect` of their own.
    """

    name: ClassVar[str]
    # Whether `run` differentiates; the others run without gradients.
    needs_gradients: ClassVar[bool] = False

    @abstractmethod
    def run(self, module: Any, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is found of a batch.

        Args:
            module: The module, in evaluation mode, on the device of the batch.
            batch: A batch of the loader (B photographs, at most the module's `largest_batch`): `image` (B, 3, S, S),
                `id`, and a key per field. A step that differentiates by the photographs takes
                `batch["image"].detach().requires_grad_()` and `torch.autograd.grad`.
            found: The results of this batch from the steps before, by name.

        Returns:
            Results by name: a tensor whose first dimension is B, or a list of B values.
        """

    def collect(self, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Join the results of the batches: arrays along the first dimension, lists end to end.

        Args:
            parts: What `run` returned for each batch, tensors as arrays.
        """
        return {name: _join([part[name] for part in parts]) for name in (parts[0] if parts else ())}


class Probabilities(PredictionStep):
    """The probabilities of the classes: `probability` (B, C), as the network gives them, not calibrated."""

    name = "probabilities"

    def run(self, module: Any, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Return `probability`, float32 (B, C)."""
        return {PROBABILITY: module.predict_probabilities(*module.network_inputs(batch)).float()}


def run_steps(
    module: LightningModule, batch: Mapping[str, Any], steps: Sequence[PredictionStep]
) -> list[dict[str, Any]]:
    """Run steps on one batch.

    Args:
        module: The module, in evaluation mode.
        batch: A batch on the module's device.
        steps: In order.

    Returns:
        The results of each step; tensors are on the CPU and without gradients.

    Raises:
        ValueError: If a step gives another number of values than there are photographs, or a name that another step
            gave already.
    """
    count = len(batch["id"])
    # Tensors of inference mode cannot take part in a gradient, so one step that differentiates rules it out for all.
    without = torch.no_grad if any(step.needs_gradients for step in steps) else torch.inference_mode
    found: dict[str, Any] = {}
    results = []
    for step in steps:
        with torch.enable_grad() if step.needs_gradients else without():
            given = step.run(module, batch, dict(found))
        for name, values in given.items():
            if name in found:
                raise ValueError(f"step {step.name!r} gives {name!r}, which an earlier step gave already")
            if len(values) != count:
                raise ValueError(f"step {step.name!r} gives {len(values)} values of {name!r} for {count} photographs")
        given = {name: value.detach() if isinstance(value, Tensor) else value for name, value in given.items()}
        if step.needs_gradients:
            module.zero_grad(set_to_none=True)
        found |= given
        results.append({name: value.cpu() if isinstance(value, Tensor) else value for name, value in given.items()})
    return results


def to_array(value: Any) -> Any:
    """Return a tensor as an array (of half precision as float32), anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return (value.float() if value.dtype in (torch.float16, torch.bfloat16) else value).numpy()


def _join(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return list(chain.from_iterable(parts))
