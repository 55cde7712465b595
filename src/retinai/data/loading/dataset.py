"""The data set: prepared pixels from the cache, the original otherwise, augmented, and how a batch is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from retinai.data.loading.fields import FieldSample, SampleField
from retinai.data.loading.samplers import SampleKey
from retinai.data.photographs.normalise import normalise
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.tasks.task import Task

if TYPE_CHECKING:
    from retinai.data.loading.augmentation import Augmentation
    from retinai.data.photographs.cache import PreparedCache

# Key of samples and batches with the damaged files of the cache that were met; the loader takes it out.
DAMAGED = "damaged_in_cache"


class FundusDataset(Dataset[dict[str, Any]]):
    """Photographs of a label table, prepared and augmented, as uint8 (a batch is normalised in one go).

    Args:
        table: A label table of N rows.
        preprocessing: How a photograph becomes the input.
        cache: Prepared photographs; those that are not there are prepared from the original.
        augmentation: What varies a photograph, or None.
        seed: Seed of the augmentation.
        fields: What a sample carries besides, bound to the data set.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        preprocessing: Preprocessing,
        *,
        cache: PreparedCache | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        fields: Sequence[SampleField] = (),
    ) -> None:
        # Plain lists: a data frame row costs more than reading the prepared photograph.
        self.ids: list[str] = table["id"].tolist()
        self.paths: list[str] = table["path"].tolist()
        self.targets: list[Any] = table["target"].tolist()
        self.preprocessing = preprocessing
        self.cache = cache
        self.augmentation = augmentation
        self.seed = seed
        self.fields = tuple(fields)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of augmentations that are asked for by a bare index."""
        self.epoch = int(epoch)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | SampleKey) -> dict[str, Any]:
        """Return a sample.

        Args:
            key: An index, or a `SampleKey` that carries its epoch.

        Returns:
            `image` uint8 (S, S, 3); `id`; `target` (int or tuple) where labelled; a key per field.

        Raises:
            BadImageError: If the photograph cannot be read.
        """
        draw = key if isinstance(key, tuple) else SampleKey(self.epoch, int(key))
        index = draw.sample
        photograph = self._photograph(draw)
        carried = {field.name: field.load(photograph) for field in self.fields}
        sample: dict[str, Any] = {"id": self.ids[index], "image": photograph.image}
        if self.targets[index] is not None:
            sample["target"] = self.targets[index]
        if photograph.damaged:
            sample[DAMAGED] = photograph.damaged
        return sample | carried

    def _photograph(self, draw: SampleKey) -> FieldSample:
        """Return the photograph of a drawn sample, with the augmentation of this draw."""
        augmentation, seed = self.augmentation, (self.seed, draw.epoch, draw.sample, draw.repeat)

        def vary(image: np.ndarray, masks: Sequence[np.ndarray], outside: int) -> tuple[np.ndarray, list[np.ndarray]]:
            assert augmentation is not None
            return augmentation(image, masks, seed=seed, outside=outside)

        return FieldSample(
            self.ids[draw.sample],
            self.paths[draw.sample],
            self.preprocessing,
            cache=self.cache,
            variation=None if augmentation is None else vary,
            draw=seed,
        )


class Collate:
    """Make a batch of samples: stack, normalise, turn channels first.

    Args:
        preprocessing: Owner of mean and std.
        task: Decides the type of the targets; None where nothing is labelled.
        fields: What the samples carry besides.
    """

    def __init__(self, preprocessing: Preprocessing, task: Task | None, fields: Sequence[SampleField] = ()) -> None:
        self.task = task
        self.fields = tuple(fields)
        self.preprocessing = preprocessing

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return a batch.

        Returns:
            `image` float32 (B, 3, S, S), normalised; `id` list of str; `target` int64 (B,) for grades or
            float32 (B, C) for multilabel, where labelled; a key per field.
        """
        images = normalise(np.stack([s["image"] for s in samples]), self.preprocessing)
        batch: dict[str, Any] = {"image": torch.from_numpy(images), "id": [s["id"] for s in samples]}
        if self.task is not None and all("target" in s for s in samples):
            targets = [s["target"] for s in samples]
            batch["target"] = torch.from_numpy(self.task.target_array(targets).astype(self.task.batch_dtype))
        for field in self.fields:
            value = field.collate([s[field.name] for s in samples])
            batch[field.name] = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        damaged = [file for s in samples for file in s.get(DAMAGED, ())]
        return batch | ({DAMAGED: damaged} if damaged else {})
