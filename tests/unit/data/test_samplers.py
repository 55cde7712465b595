from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import WeightedRandomSampler

from retinai.data.loading.samplers import SampleKey, ShuffleSampler, WeightedSampler, balancing_weights, build_sampler
from retinai.errors import ConfigError


def test_shuffle_gives_every_sample_once_and_another_order_each_epoch():
    sampler = ShuffleSampler(50, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(d.sample for d in first) == list(range(50)) == sorted(d.sample for d in second)
    assert [d.sample for d in first] != [d.sample for d in second]
    assert {d.epoch for d in second} == {1}
    again = ShuffleSampler(50, seed=3)
    again.set_epoch(1)
    assert list(again) == second


def test_weights_are_n_over_n_i():
    labels = np.eye(3, dtype=bool)[[0, 0, 0, 1, 2, 2]]
    assert balancing_weights(labels).tolist() == [2, 2, 2, 6, 3, 3]


def test_multilabel_weight_is_that_of_the_rarest_label():
    labels = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], dtype=bool)
    assert balancing_weights(labels) == pytest.approx([4 / 3, 4, 4 / 3, 4])


def test_weighted_sampler_draws_classes_as_often_as_torch_does():
    labels = np.eye(2, dtype=bool)[np.r_[np.zeros(900, int), np.ones(100, int)]]
    weights = balancing_weights(labels)
    drawn = [d.sample for d in WeightedSampler(weights, seed=0)]
    rare = np.mean([i >= 900 for i in drawn])
    generator = torch.Generator().manual_seed(0)
    oracle = np.mean([i >= 900 for i in WeightedRandomSampler(weights.tolist(), 1000, generator=generator)])
    assert len(drawn) == 1000
    assert abs(rare - 0.5) < 0.05 and abs(oracle - 0.5) < 0.05


def test_a_sample_drawn_again_is_told_apart():
    draws = list(WeightedSampler(np.array([1.0, 100.0]), seed=0)) * 1
    assert draws == [SampleKey(0, 1, 0), SampleKey(0, 1, 1)]


@pytest.mark.parametrize("name", ["shuffle", "weighted"])
def test_processes_share_an_epoch_evenly(monkeypatch, name):
    sampler = build_sampler({"name": name}, np.eye(2, dtype=bool)[[0] * 6 + [1] * 5], seed=1)
    whole = list(sampler)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler) == 4
    together = Counter(draw for part in parts for draw in part)
    assert not Counter(whole) - together  # all of the epoch is there
    assert together.total() == 12
    assert len(together) == 12  # the one that fills up is told apart from its first draw


def test_unknown_names_and_keys_are_refused():
    labels = np.eye(2, dtype=bool)
    with pytest.raises(ConfigError, match="valid: shuffle, weighted"):
        build_sampler("balanced", labels, 0)
    with pytest.raises(ConfigError, match="'replacement'"):
        build_sampler({"name": "weighted", "replacement": True}, labels, 0)
