"""Batches are what they were: numbers noted before fields, sources and the datamodule were taken apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_trees import PREPROCESSING, write_aptos

from retinai.data.loading.views import PhotographView
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.sources.aptos import AptosDataModule
from retinai.topology.field import TopologyField
from retinai.topology.settings import TopologySettings

PRE = Preprocessing.from_dict(PREPROCESSING)
LARGE = replace(PRE, input_size=48, mean=(0.4, 0.3, 0.2), std=(0.25, 0.2, 0.15))
AUGMENT = [
    {"name": "HorizontalFlip", "params": {"p": 0.5}},
    {"name": "Affine", "params": {"rotate": [-20, 20], "p": 1.0}},
    {"name": "RandomBrightnessContrast", "params": {"p": 1.0}},
]
# Mean and standard deviation of the second training batch of epoch 3.
TRAINING = {
    "image": (-0.153474, 1.066793),
    "topology": (0.005083, 0.035293),
    "view_0": (0.483653, 1.37192),
}
IDS = [0x15, 0x8, 0x19, 0xD, 0x2, 0x6, 0x18, 0x5]
TARGETS = [1, 3, 0, 3, 2, 1, 4, 0]


def test_order_augmentation_and_fields_are_those_of_the_seed(tmp_path: Path) -> None:
    data = AptosDataModule(
        root=str(write_aptos(tmp_path / "aptos", [i % 5 for i in range(40)])),
        preprocessing=PRE,
        cache=tmp_path / "cache",
        batch_size=8,
        num_workers=0,
        near_duplicates=False,
        augment=AUGMENT,
        seed=7,
        fields=[
            TopologyField(TopologySettings(size=32, resolution=8)),
            PhotographView("view_0", LARGE, splits=("train",)),
        ],
    )
    loader = data.loader("train")
    loader.sampler.set_epoch(3)
    batch = list(loader)[1]
    assert set(batch) == {"id", "target", *TRAINING}
    assert [int(name, 16) for name in batch["id"]] == IDS and batch["target"].tolist() == TARGETS
    for name, expected in TRAINING.items():
        values = batch[name].double()
        # Not to the last bit: other processors resize and rotate with other roundings.
        assert (values.mean().item(), values.std().item()) == pytest.approx(expected, abs=2e-3), name
