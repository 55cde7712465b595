"""The loader of a data set: batches, worker processes, the order of the epochs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader

from retinai.data.loading.dataset import Collate, FundusDataset
from retinai.data.loading.samplers import build_sampler
from retinai.tasks.task import Task


class EpochLoader(DataLoader[dict[str, Any]]):
    """A loader whose workers start on an epoch when its first batch is asked for, not when it is iterated.

    A resumed Lightning run makes the iterator before it tells the sampler its epoch; workers that
    prefetch from then on would load the batches of epoch 0.
    """

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield the batches of the sampler's epoch."""
        yield from super().__iter__()


def make_loader(
    dataset: FundusDataset,
    task: Task,
    *,
    batch_size: int,
    num_workers: int | str = "auto",
    sampler: Mapping[str, Any] | str | None = None,
    seed: int = 0,
) -> EpochLoader:
    """Return a loader that gives the batches of `Collate`.

    Args:
        dataset: The data set.
        task: Its task.
        batch_size: Samples per batch.
        num_workers: Processes, or `auto`.
        sampler: The training sampler; None reads in table order and leaves nothing out.
        seed: Seed of the order.
    """
    options: dict[str, Any] = {}
    if sampler is not None:
        options["sampler"] = build_sampler(sampler, task.indicator(dataset.targets), seed)
        # The few samples over are left for another epoch: a tiny batch spoils batch norm.
        options["drop_last"] = len(options["sampler"]) >= batch_size
    workers = worker_count(num_workers, len(dataset), batch_size)
    return EpochLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=Collate(dataset.preprocessing, task, dataset.fields, dataset.views),
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker if workers else None,
        **options,
    )


def worker_count(num_workers: int | str, samples: int, batch_size: int) -> int:
    """Return the number of loader processes; `auto`: one per core but one, at most 4, none for four batches or less."""
    if num_workers != "auto":
        return int(num_workers)
    if samples <= 4 * batch_size:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(cores - 1, 4))


def _start_worker(worker: int) -> None:
    """Keep a process to one thread: several workers with several threads each fight for the cores."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
