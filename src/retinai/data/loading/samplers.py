"""Which photograph comes when: shuffled or weighted, the same for the same seed and epoch.

A sampler yields `SampleKey`s, not bare indices: the epoch travels with the index into the workers, so that
persistent workers see a new epoch and an augmentation depends on nothing but (seed, epoch, sample).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler

from retinai.errors import ConfigError


class SampleKey(NamedTuple):
    """One drawn sample: the epoch, the sample's index in the data set, and how often it came before in this epoch."""

    epoch: int
    sample: int
    repeat: int = 0


class EpochSampler(Sampler[SampleKey]):
    """Base: one order per (seed, epoch), dealt out to the processes of a distributed run.

    With W processes each gets ceil(N / W) samples; the order is filled up from its start where N is
    not a multiple of W, as torch's DistributedSampler does.

    Args:
        size: Number of samples N.
        seed: Random seed.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls this before each training epoch."""
        self.epoch = int(epoch)

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """Return the indices of one epoch for all processes together, shape (N,)."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[SampleKey]:
        epoch = self.epoch
        order = self.order(np.random.default_rng([self.seed, epoch]))
        rank, world = _rank_and_world()
        seen: Counter[int] = Counter()
        draws = []
        for index in np.resize(order, len(self) * world).tolist():
            draws.append(SampleKey(epoch, index, seen[index]))
            seen[index] += 1
        return iter(draws[rank::world])

    def __len__(self) -> int:
        return -(-self.size // _rank_and_world()[1])


class ShuffleSampler(EpochSampler):
    """Every sample once per epoch, in random order."""

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """Return a permutation of the N indices."""
        return generator.permutation(self.size)


class WeightedSampler(EpochSampler):
    """N draws with replacement, each sample with a probability in proportion to its weight.

    Args:
        weights: Weight per sample, shape (N,), all > 0.
        seed: Random seed.
    """

    def __init__(self, weights: np.ndarray, seed: int = 0) -> None:
        super().__init__(len(weights), seed)
        self.probabilities = np.asarray(weights, dtype=np.float64) / np.sum(weights)

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """Return N indices drawn with replacement."""
        return generator.choice(self.size, size=self.size, p=self.probabilities)


def balancing_weights(labels: np.ndarray) -> np.ndarray:
    """Return w = N / n_i per sample, the largest of its labels' weights where it has several.

    Args:
        labels: 0/1 matrix, shape (N, C); a row without any label counts for a class of its own.

    Returns:
        Weights, shape (N,), float64.
    """
    none = ~labels.any(axis=1, keepdims=True)
    labels = np.concatenate([labels.astype(bool), none], axis=1)
    weights = len(labels) / np.maximum(labels.sum(axis=0), 1)
    return np.where(labels, weights, 0).max(axis=1)


def build_sampler(spec: Mapping[str, Any] | str, labels: np.ndarray, seed: int) -> EpochSampler:
    """Build the training sampler that `sampler.name` names: `shuffle` or `weighted`.

    Args:
        spec: The name, or a mapping with `name`.
        labels: 0/1 matrix of the training split, shape (N, C).
        seed: Random seed.

    Raises:
        ConfigError: If the name or a key is unknown.
    """
    values = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = values.pop("name", None)
    if values:
        raise ConfigError([f"sampler does not know {', '.join(map(repr, values))} (valid: name)"])
    if name == "shuffle":
        return ShuffleSampler(len(labels), seed)
    if name == "weighted":
        return WeightedSampler(balancing_weights(labels), seed)
    raise ConfigError([f"sampler {name!r} is unknown (valid: shuffle, weighted)"])


def _rank_and_world() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
