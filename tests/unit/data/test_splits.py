from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from retinai.data.curation.split_files import read_splits, write_splits
from retinai.data.curation.splits import (
    SplitPlan,
    fold_numbers,
    leaking_rows,
    link_groups,
    shared_patients,
    stratified_subset,
)
from retinai.data.sources.label_table import as_targets
from retinai.errors import DataError
from retinai.tasks.known import DR_GRADE, ODIR_8

APTOS_COUNTS = (1805, 370, 999, 193, 295)


def graded(counts, per_patient: int = 1) -> pd.DataFrame:
    targets = [grade for grade, n in enumerate(counts) for _ in range(n)]
    ids = [f"p{i:04d}" for i in range(len(targets))]
    return pd.DataFrame(
        {
            "id": ids,
            "path": [f"{i}.png" for i in ids],
            "target": as_targets(targets),
            "patient": [f"n{i // per_patient}" for i in range(len(targets))],
            "eye": "",
            "split": "",
            "source": "t.csv",
        }
    )


def test_aptos_proportions_are_within_a_photograph():
    table = graded(APTOS_COUNTS)
    done = SplitPlan(DR_GRADE, seed=1).apply(table, link_groups(table))
    counts = done.groupby("split")["target"].value_counts().unstack()
    for split, share in {"train": 0.70, "val": 0.15, "test": 0.15}.items():
        assert counts.loc[split].tolist() == pytest.approx([share * n for n in APTOS_COUNTS], abs=1.6)


def test_patients_and_duplicates_stay_on_one_side():
    table = graded((400, 80, 220, 40, 60), per_patient=3)
    duplicates = [[f"p{i:04d}.png", f"p{i + 401:04d}.png"] for i in range(0, 60, 2)]
    groups = link_groups(table, duplicates)
    done = SplitPlan(DR_GRADE, seed=0).apply(table, groups)
    assert shared_patients(done) == 0
    split_of = dict(zip(done["path"], done["split"], strict=True))
    assert all(split_of[a] == split_of[b] for a, b in duplicates)
    shares = done["split"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"train": 0.70, "val": 0.15, "test": 0.15}, abs=0.04)
    for grade in range(5):
        assert set(done.loc[done["target"] == grade, "split"]) == {"train", "val", "test"}


def test_links_are_followed_through():
    table = graded((4, 2), per_patient=2)  # patients: 0 1 | 2 3 | 4 5
    groups = link_groups(table, [["p0001.png", "p0002.png"], ["p0003.png", "elsewhere.png"]])
    assert groups[0] == groups[1] == groups[2] == groups[3] != groups[4] == groups[5]


def test_seeds_decide_the_split():
    table = graded((100, 30, 60, 20, 20))
    groups = link_groups(table)
    splits = [SplitPlan(DR_GRADE, seed=s).apply(table, groups)["split"].tolist() for s in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_folds_hold_every_photograph_out_once():
    table = graded((104, 18, 133, 71, 49))
    groups = link_groups(table, [["p0000.png", "p0300.png"]])
    held_out = []
    for fold in range(5):
        done = SplitPlan(DR_GRADE, seed=0, folds=5, fold=fold).apply(table, groups)
        counts = done.groupby("split")["target"].value_counts().unstack()
        assert counts.loc["test"].tolist() == pytest.approx([n / 5 for n in (104, 18, 133, 71, 49)], abs=1.5)
        assert counts.loc["val"].sum() == pytest.approx(0.15 * 300, abs=2)
        assert done["split"].iloc[0] == done["split"].iloc[300]
        held_out += done.loc[done["split"] == "test", "id"].tolist()
    assert sorted(held_out) == table["id"].tolist()


def test_multilabel_is_stratified_by_patient():
    rng = np.random.default_rng(0)
    rates = (0.45, 0.32, 0.06, 0.06, 0.05, 0.03, 0.05, 0.28)
    labels = rng.random((800, 8)) < rates
    table = graded((800,), per_patient=2)
    table["target"] = as_targets([tuple(int(v) for v in row) for row in labels])
    groups = link_groups(table)
    done = SplitPlan(ODIR_8, seed=0).apply(table, groups)
    assert shared_patients(done) == 0
    test = labels[(done["split"] == "test").to_numpy()]
    assert test.sum(axis=0) == pytest.approx(labels.sum(axis=0) * 0.15, abs=6)
    numbers = fold_numbers(table, groups, 4, ODIR_8, 0)
    assert np.bincount(numbers) == pytest.approx([200] * 4, abs=4)


def test_owners_parts_are_kept_and_validation_is_cut_from_train():
    table = graded((60, 20, 60, 30, 30))
    table["split"] = ["test" if i % 5 == 0 else "train" for i in range(len(table))]
    done = SplitPlan(DR_GRADE, seed=0, val_fraction=0.2).apply(table, link_groups(table))
    assert ((done["split"] == "test") == (table["split"] == "test")).all()
    assert done["split"].value_counts().to_dict() == pytest.approx({"train": 128, "test": 40, "val": 32}, abs=1)
    given = SplitPlan(DR_GRADE, seed=9).apply(done, link_groups(done))
    assert given["split"].tolist() == done["split"].tolist()


def test_copies_of_later_parts_leak():
    table = graded((6,))
    table["split"] = ["train", "test", "val", "train", "train", "test"]
    duplicates = [["p0000.png", "p0001.png", "p0002.png"], ["p0003.png", "p0004.png"], ["p0005.png", "x.png"]]
    assert leaking_rows(table, duplicates).tolist() == [True, False, True, False, False, False]


def test_a_handful_holds_every_class():
    table = graded((500, 5, 200, 3, 100))
    table["split"] = ["train", "val"] * 404
    for limit in (5, 12, 40):
        kept = table[stratified_subset(table, limit, DR_GRADE, 0)]
        assert kept["split"].value_counts().to_dict() == {"train": limit, "val": limit}
        assert all(set(kept.loc[kept["split"] == s, "target"]) == set(range(5)) for s in ("train", "val"))
    big = table[stratified_subset(table, 40, DR_GRADE, 0)]["target"].value_counts()
    assert big[0] > big[2] > big[4] > big[1]
    assert stratified_subset(table, 3, DR_GRADE, 0).sum() == 6


def test_split_files_are_read_back(tmp_path):
    table = graded((20, 5, 10, 5, 5))
    done = SplitPlan(DR_GRADE, seed=0).apply(table, link_groups(table))
    path = tmp_path / "split.csv"
    write_splits(path, done.assign(note=""), DR_GRADE)
    assert path.read_text().splitlines()[0] == "id,split,target,patient,eye,source,note"
    assert read_splits(path, table, DR_GRADE) == done["split"].tolist()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.replace("p0003", "q0003"), ["1 ids are not in this data set: q0003"]),
        (lambda t: "\n".join(t.splitlines()[:-2]), ["2 ids of the data set are missing: p0043, p0044"]),
        (lambda t: t.replace("p0002,train", "p0002,training"), ["row 4 (p0002): 'training'", "train, val, test"]),
        (lambda t: t + "p0001,train,0,n1,,t.csv,\n", ["twice: p0001"]),
        (lambda t: t.replace("p0000,train,0", "p0000,train,4"), ["p0000 ('4' there, '0' in the labels)"]),
        (lambda t: t.replace("split", "part"), ["'split' is missing"]),
    ],
)
def test_faults_of_split_files_are_told(tmp_path, edit, words):
    table = graded((20, 5, 10, 5, 5)).assign(split="train")
    path = tmp_path / "split.csv"
    write_splits(path, table, DR_GRADE)
    path.write_text(edit(path.read_text()))
    with pytest.raises(DataError) as caught:
        read_splits(path, table, DR_GRADE)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_too_few_for_the_parts_is_told():
    table = graded((2, 1))
    with pytest.raises(DataError, match="val_fraction"):
        SplitPlan(DR_GRADE).apply(table, link_groups(table))
    with pytest.raises(DataError, match="folds=5"):
        SplitPlan(DR_GRADE, folds=5).apply(table, link_groups(table))
