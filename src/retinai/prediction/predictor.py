"""One loop over batches, with as many steps as are asked for; every prediction of a checkpoint goes through it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retinai.errors import UserError
from retinai.prediction.steps import PROBABILITY, PredictionStep, run_steps, to_array


class Predicted(Protocol):
    """What the loop asks of a module: a LightningModule with a limit on the photographs that it takes at once."""

    @property
    def largest_batch(self) -> int | None:
        """Most photographs at once; None for any number."""

    def eval(self) -> Any:
        """Put it into evaluation mode and return it."""

    def prediction_steps(self) -> Any:
        """Return the steps that it takes unless others are asked for."""


@dataclass(frozen=True, eq=False)
class Results:
    """What the steps found of N photographs.

    Args:
        ids: Their names, in the order of the batches.
        values: By name, an array whose first dimension is N, or a list of N values.
    """

    ids: list[str]
    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Return the values of a name."""
        return self.values[name]

    def columns(self) -> dict[str, Any]:
        """Return what is one value per photograph, and so a column of a table; probabilities have their own place."""
        return {
            name: values
            for name, values in self.values.items()
            if name != PROBABILITY and not (isinstance(values, np.ndarray) and values.ndim > 1)
        }


class Predictor:
    """Runs a module over photographs, on one device.

    Args:
        module: A trained module; it is put into evaluation mode and moved to the device.
        accelerator: `auto` takes a GPU if there is one; `gpu`; `cpu`.
        progress: Whether to show a bar on a terminal.

    Raises:
        UserError: If the accelerator is unknown or not there.
    """

    def __init__(self, module: Predicted, accelerator: str = "auto", progress: bool = True) -> None:
        self.device = choose_device(accelerator)
        self.module: Any = module.eval().to(self.device)
        self.progress = progress

    def run(
        self,
        batches: Iterable[dict[str, Any]],
        steps: Sequence[PredictionStep] | None = None,
        total: int | None = None,
    ) -> Results:
        """Run steps over all batches; the module gets no more than its `largest_batch` photographs at once.

        Args:
            batches: A loader, or anything that yields its batches.
            steps: What to find out; None asks the module (`prediction_steps`).
            total: Number of photographs, for the bar; None where it is not known.

        Returns:
            The joined results, in the order of the batches.
        """
        steps = self.module.prediction_steps() if steps is None else list(steps)
        ids: list[str] = []
        found: list[list[dict[str, Any]]] = [[] for _ in steps]
        for names, results in self.stream(batches, steps, total):
            ids += names
            for kept, given in zip(found, results, strict=True):
                kept.append(given)
        values: dict[str, Any] = {}
        for step, parts in zip(steps, found, strict=True):
            values |= step.collect(parts)
        return Results(ids, values)

    def stream(
        self,
        batches: Iterable[dict[str, Any]],
        steps: Sequence[PredictionStep],
        total: int | None = None,
        done: int = 0,
        title: str = "predicting",
    ) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
        """Yield what steps find as it is found; nothing is kept, so any number of photographs fits into memory.

        Args:
            batches: A loader, or anything that yields its batches.
            steps: What to find out.
            total: Number of photographs, for the bar; None where it is not known.
            done: How many of them were done before.
            title: What the bar says.

        Yields:
            Names of some photographs, and for each step what it found of them: tensors as arrays.
        """
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not (self.progress and console.is_terminal)) as progress:
            bar = progress.add_task(title, total=total, completed=done)
            for batch in batches:
                for part in split_batch(batch, self.module.largest_batch):
                    moved = self.module.transfer_batch_to_device(part, self.device, 0)
                    results = run_steps(self.module, moved, steps)
                    yield part["id"], [{name: to_array(v) for name, v in given.items()} for given in results]
                    progress.advance(bar, len(part["id"]))
            progress.update(bar, completed=total)  # photographs that could not be read are done too


def split_batch(batch: dict[str, Any], size: int | None) -> Iterator[dict[str, Any]]:
    """Yield a batch in parts of at most `size` photographs; None yields it whole."""
    count = len(batch["id"])
    if size is None or count <= size:
        yield batch
        return
    for start in range(0, count, size):
        yield {key: values[start : start + size] for key, values in batch.items()}


def choose_device(accelerator: str) -> torch.device:
    """Return the device: `cpu`, or with `auto` and `gpu` the first GPU (`auto` falls back to the CPU).

    Raises:
        UserError: If the word is unknown or no GPU is there.
    """
    if accelerator not in ("auto", "cpu", "gpu"):
        raise UserError(f"accelerator={accelerator} is unknown (valid: auto, cpu, gpu)")
    if accelerator == "cpu":
        return torch.device("cpu")
    for kind, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if there:
            return torch.device(kind)
    if accelerator == "gpu":
        raise UserError("accelerator=gpu, but PyTorch sees no GPU here; use accelerator=auto or cpu")
    return torch.device("cpu")
