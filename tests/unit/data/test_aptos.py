from __future__ import annotations

import shutil

import pytest
import torch
from tiny_trees import PREPROCESSING, write_aptos, write_image

from retinai.data.curation.file_index import FileIndex
from retinai.data.datamodule import FundusDataModule
from retinai.data.sources.aptos import AptosDataModule
from retinai.errors import ConfigError, DataError

GRADES = [0] * 20 + [1] * 8 + [2] * 14 + [3] * 8 + [4] * 8


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_aptos(tmp_path_factory.mktemp("aptos"), GRADES, unlabelled=3)


@pytest.fixture
def copy(root, tmp_path):
    return shutil.copytree(root, tmp_path / "aptos")


def build(root, tmp_path, **options) -> AptosDataModule:
    # Near-duplicates are a matter of real photographs; these are 64 pixels wide.
    options = {"near_duplicates": False, "preprocessing": PREPROCESSING, "batch_size": 4} | options
    return AptosDataModule(root=None if root is None else str(root), cache=tmp_path / "cache", **options)


def test_splits_and_batches(root, tmp_path):
    data = build(root, tmp_path, augment={"transforms": [{"name": "HorizontalFlip", "params": {"p": 1.0}}]})
    data.setup("fit")
    assert data.table["split"].value_counts().to_dict() == pytest.approx(
        {"train": 40, "val": 9, "test": 9, "predict": 3}, abs=2
    )
    assert sum(data.class_counts) == (data.table["split"] == "train").sum() and min(data.class_counts) >= 5
    assert data.notes == [] and data.task.name == "dr_grade"
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].shape == (4, 3, 32, 32) and batch["target"].dtype == torch.int64
    unlabelled = next(iter(data.predict_dataloader()))
    assert "target" not in unlabelled and len(unlabelled["id"]) == 3
    # Only training is augmented.
    assert data.dataset("train").augmentation is not None and data.dataset("test").augmentation is None


def test_same_seed_same_split_other_seed_another(root, tmp_path):
    modules = [build(root, tmp_path, seed=seed) for seed in (0, 0, 1)]
    for module in modules:
        module.setup()
    assert modules[0].table.equals(modules[1].table)
    assert modules[0].fingerprint == modules[1].fingerprint != modules[2].fingerprint
    kept = build(root, tmp_path, seed=7, split_seed=1)
    kept.setup()
    assert kept.fingerprint == modules[2].fingerprint


def test_split_is_written_and_accepted_back(root, tmp_path):
    first = build(root, tmp_path, seed=5)
    first.write_splits(tmp_path / "split.csv")
    again = build(root, tmp_path, seed=6, split_file=str(tmp_path / "split.csv"))
    again.setup()
    assert again.table["split"].tolist() == first.table["split"].tolist()
    assert again.fingerprint == first.fingerprint


def test_split_of_a_patient_on_two_sides_is_said(root, tmp_path):
    data = build(root, tmp_path)
    table = data.source.read_table()
    table["patient"] = table["patient"].where(table.index > 1, "one")
    table["split"] = (["train", "val", "test"] * len(table))[: len(table)]
    data.source.read_table = lambda: table[table["target"].notna()].reset_index(drop=True)
    data.setup()
    assert "1 patients occur in more than one of train, val and test" in data.notes


def test_identical_photographs_stay_together_and_conflicts_are_said(copy, tmp_path):
    images = sorted((copy / "train_images").iterdir())
    shutil.copy(images[0], images[1])  # both grade 0
    shutil.copy(images[2], images[40])  # grades 0 and 2
    data = build(copy, tmp_path)
    data.setup()
    assert "2 photographs occur more than once (4 files), 1 of them with different labels" in data.notes[0]
    split_of = dict(zip(data.table["id"], data.table["split"], strict=True))
    for a, b in ((0, 1), (2, 40)):
        assert split_of[images[a].stem] == split_of[images[b].stem]


def test_copies_of_test_photographs_leave_train(copy, tmp_path):
    first = build(copy, tmp_path)
    first.write_splits(tmp_path / "split.csv")
    train, test = (first.split_table(s).iloc[0] for s in ("train", "test"))
    shutil.copy(test["path"], train["path"])
    data = build(copy, tmp_path, split_file=str(tmp_path / "split.csv"))
    data.setup()
    assert any("1 photographs left out because they also occur" in n and train["id"] in n for n in data.notes)
    assert train["id"] not in set(data.table["id"]) and test["id"] in set(data.table["id"])
    data.write_splits(tmp_path / "again.csv")
    assert f"{train['id']},left_out" in (tmp_path / "again.csv").read_text()


def test_folds(root, tmp_path):
    held_out = []
    for fold in range(4):
        data = build(root, tmp_path, folds=4, fold=fold)
        data.setup()
        parts = {s: set(data.split_table(s)["id"]) for s in ("train", "val", "test")}
        assert not parts["train"] & parts["val"] and not parts["val"] & parts["test"]
        held_out += sorted(parts["test"])
    assert sorted(held_out) == sorted(data.table.loc[data.table["split"] != "predict", "id"])


def test_limit_takes_a_handful_and_reads_no_other_file(root, tmp_path, monkeypatch):
    scanned = []
    scan = FileIndex.scan
    monkeypatch.setattr(FileIndex, "scan", lambda self, paths, **k: scanned.extend(paths) or scan(self, paths, **k))
    data = build(root, tmp_path, limit=6)
    data.setup()
    assert data.table["split"].value_counts().to_dict() == {"train": 6, "val": 6, "test": 6, "predict": 3}
    assert min(data.class_counts) >= 1 and len(scanned) == 18


@pytest.mark.parametrize("near", [True, False])
def test_bad_photographs_are_listed_at_once_or_left_out(copy, tmp_path, near):
    images = sorted((copy / "train_images").iterdir())
    images[3].write_bytes(b"")
    images[4].write_text("no photograph")
    images[5].write_bytes(images[5].read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        build(copy, tmp_path, near_duplicates=near).setup()
    assert "3 photographs" in str(caught.value) and "on_bad_image=skip" in str(caught.value)
    assert all(f"train_images/{images[i].name}" in str(caught.value) for i in (3, 4, 5))
    data = build(copy, tmp_path, on_bad_image="skip")
    data.setup()
    assert data.notes[0].startswith("3 unusable photographs left out")
    assert not {images[i].stem for i in (3, 4, 5)} & set(data.table["id"])
    assert set(data.left_out["note"]) == {"unusable"}


def test_faults_of_the_tree(copy, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"data\.root=.*RETINAI_APTOS"):
        build(None, tmp_path).setup()
    with pytest.raises(DataError, match=r"nowhere.*does not exist.*RETINAI_APTOS"):
        build(tmp_path / "nowhere", tmp_path).setup()
    (copy / "train_images" / f"{3:012x}.png").unlink()
    with pytest.raises(DataError, match=r"1 of 61 photographs are missing.*train_images/000000000003\.png"):
        build(copy, tmp_path).setup()
    (copy / "train.csv").write_text("id,level\nx,1\n")
    with pytest.raises(DataError, match="'id_code', 'diagnosis' is missing; found: 'id', 'level'"):
        build(copy, tmp_path).setup()
    (copy / "train.csv").write_text("")
    with pytest.raises(DataError, match=r"train\.csv is empty"):
        build(copy, tmp_path).setup()


def test_class_absent_from_train(tmp_path):
    root = write_aptos(tmp_path / "aptos", [0] * 10 + [1] * 10 + [2] * 10 + [4] * 10)
    whole = build(root, tmp_path)
    whole.setup()  # it can be predicted and measured
    with pytest.raises(DataError, match=r"class severe \(3\) is absent from the training part"):
        whole.check_training()
    judged = build(root, tmp_path, quality="good")
    judged.use_judge(lambda paths: dict.fromkeys(paths, ("good", "")))
    judged.setup()
    with pytest.raises(DataError, match=r"check data\.quality=good \(it leaves photographs out\), the labels, or"):
        judged.check_training()
    data = build(root, tmp_path, limit=8)
    data.check_training()
    assert data.class_counts == [2, 2, 2, 0, 2] and "severe (3)" in data.notes[-1]


def test_relative_root_counts_from_the_working_directory(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root.parent)
    data = build(root.name, tmp_path)
    assert data.root == root


def test_options_that_make_no_sense_are_told_together(root, tmp_path):
    with pytest.raises(ConfigError) as caught:
        build(root, tmp_path, folds=5, fold=5, on_bad_image="ignore", limit=0, val_fraction=1.5, num_workers=-1)
    assert len(caught.value.problems) == 5
    with pytest.raises(TypeError, match="fold_number"):
        build(root, tmp_path, fold_number=1)
    with pytest.raises(DataError, match=r"'testing' is unknown"):
        build(root, tmp_path).split_table("testing")


def test_prepared_photographs_give_the_same_pixels(root, tmp_path):
    from retinai.data.photographs.cache import PreparedCache

    data = build(root, tmp_path, batch_size=8)
    before = next(iter(data.loader("test")))
    cache = PreparedCache(tmp_path / "cache", data.preprocessing)
    for sample, path in enumerate(data.dataset("test").paths):
        assert cache.load(path) is None
        cache.store(path, data.dataset("test")[sample]["image"])
        assert cache.load(path) is not None
    after = next(iter(data.loader("test")))
    assert torch.equal(before["image"], after["image"])
    # A changed source is not served old pixels.
    changed = shutil.copy(data.dataset("test").paths[0], tmp_path / "same.png")
    write_image(tmp_path / "same.png", 77)
    assert PreparedCache(tmp_path / "cache", data.preprocessing).load(changed) is None


def test_every_datamodule_shows_its_options():
    import inspect

    parameters = inspect.signature(AptosDataModule).parameters
    assert {"root", "cache", "preprocessing", "fields", "seed", "folds", "batch_size", "augment"} <= set(parameters)
    assert len(inspect.signature(FundusDataModule).parameters) <= 8
    assert parameters["name"].default == "aptos"
