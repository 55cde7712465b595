from __future__ import annotations

import shutil

import pytest
import torch
from tiny_trees import PREPROCESSING, write_idrid

from retinai.data.sources.idrid import LESIONS, IdridDataModule, graded_masks, lesion_mask_files, match_parts
from retinai.errors import ConfigError, DataError
from retinai.lesions.fields import FindingsField
from retinai.lesions.masks import AnnotatedField, MaskField

TRAIN = [(i % 5, i % 3) for i in range(50)]
TEST = [(i % 5, i % 3) for i in range(10)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_idrid(tmp_path_factory.mktemp("idrid"), TRAIN, TEST)


def build(root, cache, **options) -> IdridDataModule:
    options = {"preprocessing": PREPROCESSING, "batch_size": 4, "near_duplicates": False} | options
    return IdridDataModule(root=str(root), cache=cache, **options)


def test_official_parts_with_ids_that_repeat(root, tmp_path):
    data = build(root, tmp_path, val_fraction=0.2)
    data.setup()
    assert data.table["split"].value_counts().to_dict() == {"train": 40, "val": 10, "test": 10}
    rows = data.table.set_index("id")
    assert rows.loc["train_IDRiD_001", "path"] != rows.loc["test_IDRiD_001", "path"]
    assert rows.loc["test_IDRiD_002", "target"] == 1 and data.class_counts == [8] * 5
    assert next(iter(data.test_dataloader()))["id"][0] == "test_IDRiD_001"


def test_dme_is_read_from_the_column_with_the_trailing_space(root, tmp_path):
    data = build(root, tmp_path, target="dme")
    data.setup()
    assert data.task.name == "dme_risk" and data.table.set_index("id").loc["train_IDRiD_003", "target"] == 2
    with pytest.raises(ConfigError, match="valid: grade, dme"):
        IdridDataModule(target="oedema")


def test_three_labels_are_made_of_both_grades(root, tmp_path):
    data = build(root, tmp_path, target="labels")
    data.setup()
    assert data.task.classes == ("any_dr", "referable", "dme_high")
    rows = data.table.set_index("id")["target"]
    for number, (grade, dme) in enumerate(TRAIN[:15], start=1):
        assert rows[f"train_IDRiD_{number:03d}"] == (int(grade > 0), int(grade > 1), int(dme == 2))


def test_folds_are_of_the_training_part_and_the_official_test_stays_out(root, tmp_path):
    held_out = set()
    for fold in range(5):
        data = build(root, tmp_path, folds=5, fold=fold)
        data.setup()
        assert not data.table["id"].str.startswith("test_").any()
        held_out |= set(data.split_table("test")["id"])
    assert len(held_out) == 50
    data.write_splits(tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_text().count("left_out") == 10
    again = build(root, tmp_path, split_file=str(tmp_path / "split.csv"))
    again.setup()
    assert again.fingerprint == data.fingerprint


@pytest.mark.parametrize("folds", [None, 5])
def test_training_photographs_of_the_test_part_are_left_out(root, tmp_path, folds):
    copy = shutil.copytree(root, tmp_path / "idrid")
    images = copy / "B. Disease Grading" / "1. Original Images"
    shutil.copy(images / "b. Testing Set" / "IDRiD_004.jpg", images / "a. Training Set" / "IDRiD_009.jpg")
    data = build(copy, tmp_path, folds=folds)
    data.setup()
    assert "train_IDRiD_009" not in set(data.table["id"])
    assert any("train_IDRiD_009" in note for note in data.notes)


def test_a_folder_that_is_not_idrid(tmp_path):
    with pytest.raises(DataError, match=r"B\. Disease Grading"):
        build(tmp_path, tmp_path).setup()
    with pytest.raises(DataError, match=r"A\. Segmentation"):
        lesion_mask_files(tmp_path)


def test_synthetic_cohort_with_masks(synthetic_idrid, tmp_path):
    files = lesion_mask_files(synthetic_idrid)
    assert (files[list(LESIONS)] != "").any(axis=None)
    data = build(synthetic_idrid, tmp_path)
    data.setup()
    assert {"train", "val", "test"} <= set(data.table["split"])


def test_real_labels_splits_and_duplicates(idrid_root, idrid_cache):
    fields, pixels = [MaskField(), AnnotatedField()], {**PREPROCESSING, "input_size": 64}
    data = build(idrid_root, idrid_cache, near_duplicates=True, fields=fields, preprocessing=pixels)
    data.setup()
    train = data.table[data.table["split"] != "test"]
    left_out = data.left_out
    assert len(train) + len(left_out) == 375 and (data.table["split"] == "test").sum() == 37
    counts = train["target"].value_counts() + left_out["target"].value_counts().reindex(range(5), fill_value=0)
    assert counts.sort_index().tolist() == [104, 18, 133, 71, 49]
    split_of = dict(zip(data.table["id"], data.table["split"], strict=True))
    for a, b in (("028", "327"), ("073", "375"), ("045", "333"), ("079", "279")):  # byte for byte the same
        assert split_of[f"train_IDRiD_{a}"] == split_of[f"train_IDRiD_{b}"]
    assert (train["split"] == "val").mean() == pytest.approx(0.15, abs=0.02)

    pairs = match_parts(idrid_root, idrid_cache)
    matched = dict(zip(pairs["segmentation"], pairs["grading"], strict=True))
    assert matched["seg_train_IDRiD_01"] == "train_IDRiD_102"
    masks = graded_masks(idrid_root, idrid_cache)
    assert set(masks["train_IDRiD_102"]) <= set(LESIONS) and "optic_disc" in masks["train_IDRiD_102"]
    split = split_of["train_IDRiD_102"]
    dataset = data.dataset(split)
    sample = dataset[dataset.ids.index("train_IDRiD_102")]
    assert sample["mask"].shape == (64, 64, 5) and sample["has_mask"]
    disc = sample["mask"][:, :, list(LESIONS).index("optic_disc")]
    assert 10 < disc.sum() < 200
    # The optic disc is the brightest large thing in the photograph.
    assert sample["image"][disc > 0].mean() > sample["image"][disc == 0].mean() + 30
    assert torch.is_tensor(next(iter(data.loader("test")))["mask"])


def test_batches_carry_the_findings_of_the_masks(synthetic_idrid, tmp_path):
    data = build(synthetic_idrid, tmp_path, fields=[FindingsField()], num_workers=0)
    masks, carried = graded_masks(synthetic_idrid, tmp_path), {}
    for split in ("train", "val", "test"):
        for sample in map(data.dataset(split).__getitem__, range(len(data.split_table(split)))):
            carried[sample["id"]] = sample["findings"]
    assert {name for name, found in carried.items() if found} == set(masks) & set(carried) and len(masks) > 3
    for name in set(masks) & set(carried):
        assert {f.lesion for f in carried[name].present} == set(masks[name]) - {"optic_disc"}
    batch = next(iter(data.test_dataloader()))
    assert batch["findings"] == [carried[name] for name in batch["id"]]
