"""The same augmented photograph for a student and its teachers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_trees import PREPROCESSING, write_aptos, write_image

from retinai.data.aptos import AptosDataModule
from retinai.data.dataset import FundusDataset
from retinai.data.fundus import prepare_photograph
from retinai.data.images import read_photograph
from retinai.data.loading import make_loader
from retinai.data.preprocessing import Preprocessing
from retinai.data.samplers import Draw
from retinai.data.table import as_targets
from retinai.data.task import DR_GRADE
from retinai.data.transforms import build_augmentation
from retinai.data.views import shrink, source_of
from retinai.errors import ConfigError

PRE = Preprocessing.from_dict(PREPROCESSING)
LARGE = replace(PRE, input_size=80, mean=(0.4, 0.3, 0.2), std=(0.25, 0.2, 0.15))
SMALL = replace(PRE, input_size=20)
AUGMENT = [
    {"name": "HorizontalFlip", "params": {"p": 0.5}},
    {"name": "Affine", "params": {"rotate": [-20, 20], "p": 1}},
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("photographs")
    paths = [str(write_image(root / f"p{i}.png", i)) for i in range(4)]
    return pd.DataFrame({"id": [f"p{i}" for i in range(4)], "path": paths, "target": as_targets([0, 1, 2, 3])})


def test_everyone_sees_the_same_augmented_photograph_in_their_own_way(table: pd.DataFrame) -> None:
    pipeline = build_augmentation(AUGMENT)
    assert pipeline is not None
    dataset = FundusDataset(table, PRE, augmentation=pipeline, seed=3, views=[LARGE, SMALL])
    sample = dataset[Draw(2, 1, 0)]
    whole = prepare_photograph(read_photograph(table["path"][1]), replace(PRE, input_size=80))
    augmented, _ = pipeline(whole, seed=(3, 2, 1, 0))
    assert np.array_equal(sample["view_0"], augmented)
    for key, side in (("image", 32), ("view_1", 20)):
        assert np.array_equal(sample[key], cv2.resize(augmented, (side, side), interpolation=cv2.INTER_AREA))

    batch = next(iter(make_loader(dataset, DR_GRADE, batch_size=4)))
    assert {k: tuple(batch[k].shape) for k in ("image", "view_0", "view_1")} == {
        "image": (4, 3, 32, 32), "view_0": (4, 3, 80, 80), "view_1": (4, 3, 20, 20),
    }  # fmt: skip
    back = batch["view_0"] * torch.tensor(LARGE.std).view(3, 1, 1) + torch.tensor(LARGE.mean).view(3, 1, 1)
    expected = np.stack([dataset[i]["view_0"] for i in range(4)]).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(back.numpy(), expected, atol=1e-6)


def test_a_view_is_nearly_what_its_own_preparation_gives(table: pd.DataFrame) -> None:
    photograph = read_photograph(table["path"][0])
    direct = prepare_photograph(photograph, SMALL).astype(float)
    by_way = shrink(prepare_photograph(photograph, replace(SMALL, input_size=80)), 20).astype(float)
    assert np.abs(direct - by_way).mean() < 1.0  # of 255: two averages after another are one, but for rounding


def test_masks_follow_the_students_size(table: pd.DataFrame, tmp_path: Path) -> None:
    shape = read_photograph(table["path"][0]).shape[:2]
    cv2.imwrite(str(tmp_path / "m.png"), np.full(shape, 255, np.uint8))
    masks = {"p0": {"field": str(tmp_path / "m.png")}}
    sample = FundusDataset(table, PRE, masks=masks, mask_names=("field",), views=[LARGE])[0]
    assert sample["mask"].shape == (32, 32, 1) and set(np.unique(sample["mask"])) <= {0, 1} and sample["mask"].any()


def test_only_training_has_views_and_the_cache_is_of_the_largest_size(tmp_path: Path) -> None:
    root = str(write_aptos(tmp_path / "aptos", [i % 5 for i in range(40)]))
    common = {"root": root, "preprocessing": PRE, "cache": tmp_path / "cache", "num_workers": 0, "batch_size": 4}
    datamodule = AptosDataModule(**common, views=[LARGE.to_dict()])
    assert "view_0" in next(iter(datamodule.train_dataloader()))
    assert "view_0" not in next(iter(datamodule.val_dataloader()))
    sides = {split: datamodule.dataset(split).cache.preprocessing.input_size for split in ("train", "val")}
    assert sides == {"train": 80, "val": 32}
    plain = AptosDataModule(**common)
    assert plain.dataset("train").source == PRE


def test_what_no_resizing_can_bring_together_is_refused_at_once() -> None:
    other = replace(LARGE, ben_graham=True, crop="none")
    with pytest.raises(ConfigError) as caught:
        AptosDataModule(root="nowhere", preprocessing=PRE, views=[other])
    assert len(caught.value.problems) == 2
    assert "set data.preprocess.ben_graham=true" in str(caught.value)
    assert source_of(PRE, [SMALL]) is PRE
