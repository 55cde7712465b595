"""Lesion masks in samples and batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_trees import PREPROCESSING, write_image

from retinai.data.loading.augmentation import build_augmentation
from retinai.data.loading.dataset import Collate, FundusDataset
from retinai.data.loading.samplers import SampleKey
from retinai.data.loading.views import PhotographView
from retinai.data.photographs.images import read_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.sources.label_table import as_targets
from retinai.errors import DataError
from retinai.lesions.mask_files import check_masks
from retinai.lesions.masks import AnnotatedField, MaskField
from retinai.tasks.known import DR_GRADE

PRE = Preprocessing.from_dict(PREPROCESSING)
LARGE = replace(PRE, input_size=96)
MOVES = [
    {"name": "HorizontalFlip", "params": {"p": 0.5}},
    {"name": "Affine", "params": {"rotate": [-20, 20], "p": 1.0}},
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("photographs")
    paths = [str(write_image(root / f"p{i}.png", i)) for i in range(3)]
    return pd.DataFrame({"id": ["p0", "p1", "p2"], "path": paths, "target": as_targets([0, 1, 2])})


def fields(files: dict[str, dict[str, str]]) -> list[MaskField | AnnotatedField]:
    return [MaskField(("field", "none"), files), AnnotatedField(files)]


def test_masks_come_along_and_move_along(table: pd.DataFrame, tmp_path: Path) -> None:
    # The photograph's own bright field of view, as a mask.
    field = (cv2.imread(table["path"][0]).max(axis=2) > 20).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "field.png"), field * 255)
    files = {"p0": {"field": str(tmp_path / "field.png")}, "p2": {}}
    dataset = FundusDataset(table, LARGE, fields=fields(files), augmentation=build_augmentation(MOVES))
    seen = set()
    for epoch in range(4):
        sample = dataset[SampleKey(epoch, 0)]
        mask, lit = sample["mask"][:, :, 0] > 0, sample["image"].max(axis=2) > 10
        assert np.logical_and(mask, lit).sum() / np.logical_or(mask, lit).sum() > 0.9
        assert not sample["mask"][:, :, 1].any() and sample["has_mask"]
        seen.add(sample["mask"].tobytes())
    assert len(seen) == 4
    batch = Collate(PRE, DR_GRADE, dataset.fields)([dataset[0], dataset[1], dataset[2]])
    assert batch["mask"].shape == (3, 2, 96, 96) and batch["mask"].dtype == torch.float32
    assert batch["mask"].is_contiguous() and set(batch["mask"].unique().tolist()) == {0, 1}
    assert batch["has_mask"].tolist() == [True, False, True] and not batch["mask"][1:].any()


def test_masks_do_not_change_how_the_photograph_varies(table: pd.DataFrame) -> None:
    augmentation = build_augmentation(MOVES)
    with_masks = FundusDataset(table, PRE, fields=fields({}), augmentation=augmentation, seed=1)
    without = FundusDataset(table, PRE, augmentation=augmentation, seed=1)
    assert np.array_equal(with_masks[SampleKey(2, 1)]["image"], without[SampleKey(2, 1)]["image"])


def test_masks_have_the_inputs_size_beside_views(table: pd.DataFrame, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "m.png"), np.full(read_photograph(table["path"][0]).shape[:2], 255, np.uint8))
    files = {"p0": {"field": str(tmp_path / "m.png")}}
    sample = FundusDataset(table, PRE, fields=[*fields(files), PhotographView("view_0", LARGE)])[0]
    assert sample["mask"].shape == (32, 32, 2) and set(np.unique(sample["mask"])) == {0, 1}


def test_masks_of_a_larger_copy_fit_their_photograph(table: pd.DataFrame, tmp_path: Path) -> None:
    field = np.zeros((128, 128), np.uint8)
    field[20:60, 30:90] = 255
    found = []
    for side in (64, 128):
        file = tmp_path / f"{side}.png"
        cv2.imwrite(str(file), cv2.resize(field, (side, side), interpolation=cv2.INTER_NEAREST_EXACT))
        files = {"p0": {"field": str(file)}}
        assert check_masks(files, {"p0": table["path"][0]}, tmp_path / "cache") is files
        found.append(FundusDataset(table, PRE, fields=fields(files))[0]["mask"])
    assert np.array_equal(*found) and found[0].any()


def test_masks_of_another_shape_are_all_told_with_file_and_id(table: pd.DataFrame, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), np.full((50, 100), 255, np.uint8))
    files = {name: {"field": str(tmp_path / "wide.png")} for name in ("p0", "p1", "elsewhere")}
    with pytest.raises(DataError) as caught:
        check_masks(files, dict(zip(table["id"], table["path"], strict=True)), tmp_path / "cache")
    said = str(caught.value)
    assert "2 lesion masks" in said and "wide.png (field) is 100 x 50 pixels, its photograph p0 " in said
    assert "photograph p1" in said and "elsewhere" not in said
