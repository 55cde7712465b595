"""The data set: prepared pixels from the cache, the original otherwise, augmented, and how a batch is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from retinai.data.loading.fields import SampleField
from retinai.data.loading.samplers import SampleKey
from retinai.data.photographs.field_of_view import prepare_photograph
from retinai.data.photographs.images import read_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.tasks.task import Task

if TYPE_CHECKING:
    from retinai.data.loading.augmentation import Augmentation
    from retinai.data.photographs.cache import PreparedCache


class FundusDataset(Dataset[dict[str, Any]]):
    """Photographs of a label table, prepared and augmented, as uint8 (a batch is normalised in one go).

    Args:
        table: A label table of N rows.
        preprocessing: How a photograph becomes the input.
        cache: Prepared photographs; those that are not there are prepared from the original.
        augmentation: What varies a photograph, or None.
        seed: Seed of the augmentation.
        fields: What a sample carries besides.
        views: How other networks (teachers) want to see the same photograph. Each view is prepared from the
            original at its own size and varied like the input, so that a network trains on the very pixels
            that it would train on alone.
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
        views: Sequence[Preprocessing] = (),
    ) -> None:
        # Plain lists: a data frame row costs more than reading the prepared photograph.
        self.ids: list[str] = table["id"].tolist()
        self.paths: list[str] = table["path"].tolist()
        self.targets: list[Any] = table["target"].tolist()
        self.preprocessing = preprocessing
        self.views = tuple(views)
        self.cache = cache
        self.view_caches = [cache and cache.with_preprocessing(view) for view in self.views]
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
            `image` uint8 (S, S, 3); `id`; `target` (int or tuple) where labelled; a key per extra;
            `view_<i>` uint8 (S_i, S_i, 3) per view.

        Raises:
            BadImageError: If the photograph cannot be read.
        """
        draw = key if isinstance(key, tuple) else SampleKey(self.epoch, int(key))
        index = draw.sample
        sample: dict[str, Any] = {"id": self.ids[index]}
        if self.targets[index] is not None:
            sample["target"] = self.targets[index]
        image, *views = self._photographs(index)
        carried = {field.name: field.load(self.ids[index], self.paths[index], image) for field in self.fields}
        if self.augmentation is not None:
            seed = (self.seed, draw.epoch, index, draw.repeat)
            image = self._vary(image, carried, seed)
            views = [
                self.augmentation(view, seed=seed, outside=way.outside)[0]
                for view, way in zip(views, self.views, strict=True)
            ]
        sample["image"] = image
        return sample | carried | {f"view_{number}": view for number, view in enumerate(views)}

    def _vary(self, image: np.ndarray, carried: dict[str, Any], seed: tuple[int, ...]) -> np.ndarray:
        """Return the augmented photograph, and put the planes that move along with it into `carried`."""
        assert self.augmentation is not None
        names = [field.name for field in self.fields if field.moves]
        planes = [np.ascontiguousarray(carried[name][..., i]) for name in names for i in range(carried[name].shape[2])]
        image, planes = self.augmentation(image, planes, seed=seed, outside=self.preprocessing.outside)
        for name in names:
            count = carried[name].shape[2]
            carried[name], planes = np.stack(planes[:count], axis=-1), planes[count:]
        return image

    def _photographs(self, index: int) -> list[np.ndarray]:
        """Return the prepared photograph and its views; the original is decoded at most once."""
        path = self.paths[index]
        ways = [(self.preprocessing, self.cache), *zip(self.views, self.view_caches, strict=True)]
        prepared = [cache.load(path) if cache is not None else None for _, cache in ways]
        if all(image is not None for image in prepared):
            return [image for image in prepared if image is not None]
        original = read_photograph(path)
        return [
            prepare_photograph(original, preprocessing) if image is None else image
            for image, (preprocessing, _) in zip(prepared, ways, strict=True)
        ]


class Collate:
    """Make a batch of samples: stack, normalise, turn channels first.

    Args:
        preprocessing: Owner of mean and std.
        task: Decides the type of the targets.
        fields: What the samples carry besides.
        views: Owners of the views' mean and std.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        task: Task,
        fields: Sequence[SampleField] = (),
        views: Sequence[Preprocessing] = (),
    ) -> None:
        self.task = task
        self.fields = tuple(fields)
        self.scale_and_shift = _scale_and_shift(preprocessing)
        self.of_views = [_scale_and_shift(view) for view in views]

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return a batch.

        Returns:
            `image` float32 (B, 3, S, S), normalised; `id` list of str; `target` int64 (B,) for grades or
            float32 (B, C) for multilabel, where labelled; a key per extra; `view_<i>` float32
            (B, 3, S_i, S_i) per view, normalised.
        """
        batch: dict[str, Any] = {
            "image": self.normalise(np.stack([s["image"] for s in samples])),
            "id": [s["id"] for s in samples],
        }
        if all("target" in s for s in samples):
            targets = [s["target"] for s in samples]
            batch["target"] = torch.from_numpy(self.task.target_array(targets).astype(self.task.batch_dtype))
        for field in self.fields:
            batch[field.name] = field.collate([s[field.name] for s in samples])
        for number, numbers in enumerate(self.of_views):
            key = f"view_{number}"
            batch[key] = _normalise(np.stack([s[key] for s in samples]), *numbers)
        return batch

    def normalise(self, images: np.ndarray) -> Tensor:
        """Return uint8 (B, S, S, 3) as normalised float32 (B, 3, S, S)."""
        return _normalise(images, *self.scale_and_shift)


def _scale_and_shift(preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Return what pixels of 0 to 255 are multiplied by, and what is added, each (1, 3, 1, 1)."""
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    return (1 / (255 * std)).view(1, 3, 1, 1), (-mean / std).view(1, 3, 1, 1)


def _normalise(images: np.ndarray, scale: Tensor, shift: Tensor) -> Tensor:
    count, height, width, _ = images.shape
    out = torch.empty(count, 3, height, width)  # contiguous: a copy that moves the channels costs least
    return out.copy_(torch.from_numpy(images).permute(0, 3, 1, 2)).mul_(scale).add_(shift)
