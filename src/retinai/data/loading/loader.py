"""The loader of a data set: batches, worker processes, the order of the epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader

from retinai.data.loading.dataset import DAMAGED, Collate, FundusDataset
from retinai.data.loading.samplers import build_sampler
from retinai.data.parallel import choose_loader_workers
from retinai.log import note
from retinai.tasks.task import Task


class EpochLoader(DataLoader[dict[str, Any]]):
    """A loader whose workers start on an epoch when its first batch is asked for, not when it is iterated.

    A resumed Lightning run makes the iterator before it tells the sampler its epoch; workers that
    prefetch from then on would load the batches of epoch 0. It says once when prepared photographs turn out to be
    damaged, which workers find one by one.
    """

    _told = False

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield the batches of the sampler's epoch."""
        for batch in super().__iter__():
            files = batch.pop(DAMAGED, [])
            if files and not self._told:
                self._told = True
                note(
                    f"prepared photographs in the cache are damaged or of an older kind, first {files[0]}; they are "
                    "made from the original files each time, until `retinai prepare` writes them anew"
                )
            yield batch


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
    workers = choose_loader_workers(num_workers, len(dataset), batch_size)
    return EpochLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=Collate(dataset.preprocessing, task, dataset.fields),
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker if workers else None,
        **options,
    )


def _start_worker(worker: int) -> None:
    """Keep a process to one thread: several workers with several threads each fight for the cores."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
