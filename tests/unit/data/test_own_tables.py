"""One's own tables and folders: columns by name, tasks by values, patients together, and what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_trees import PREPROCESSING, write_image

from retinai.data.sources.folder import FolderDataModule, FolderSource
from retinai.data.sources.table import TableDataModule, TableSource
from retinai.errors import ConfigError, DataError, UserError
from retinai.tasks.binary import BinaryTask
from retinai.tasks.grade import GradeTask
from retinai.tasks.multilabel import MultilabelTask
from retinai.tasks.number import NumberTask

ROWS = {
    "photo": [f"p{i // 2}_{'left' if i % 2 else 'right'}" for i in range(24)],
    "person": [f"p{i // 2}" for i in range(24)],
    "side": ["OS" if i % 2 else "OD" for i in range(24)],
    "outcome": ["yes" if i % 6 < 2 else "no" for i in range(24)],
    "age": [str(50 + i // 2) for i in range(24)],
}
COLUMNS = {"id": "photo", "target": "outcome", "patient": "person", "eye": "side"}
NUMBER: dict[str, Any] = {"kind": "number", "columns": COLUMNS | {"target": "age"}}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs, two per person."""
    folder = tmp_path_factory.mktemp("own") / "photos"
    for number, name in enumerate(ROWS["photo"]):
        write_image(folder / f"{name}.jpg", number)
    return folder


def source(tmp_path: Path, photos: Path, rows: dict[str, list[str]] = ROWS, **options: Any) -> TableSource:
    pd.DataFrame(rows).to_csv(tmp_path / "own.csv", index=False)
    given = {"file": str(tmp_path / "own.csv"), "root": str(photos), "columns": COLUMNS} | options
    return TableSource(**given)


def test_columns_by_name_and_patients_on_one_side(tmp_path: Path, photos: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "own.csv", index=False)
    data = TableDataModule(
        file=str(tmp_path / "own.csv"), root=str(photos), columns=COLUMNS, cache=tmp_path / "cache", val_fraction=0.25,
        test_fraction=0.25, num_workers=0, preprocessing=PREPROCESSING, prevalence=0.02,
    )  # fmt: skip
    data.setup()
    assert data.task == BinaryTask("table", ("no", "yes")) and data.task.to_dict()["prevalence"] == 0.02
    assert data.table.groupby("patient")["split"].nunique().max() == 1 and len(data.table) == 24
    assert set(data.table["eye"]) == {"left", "right"} and data.class_counts[1] < data.class_counts[0]
    row = data.table.set_index("id").loc["p3_left"]
    assert (row["patient"], row["target"], Path(row["path"]).name) == ("p3", 1, "p3_left.jpg")
    assert list(data.source.columns()["age"]) == ROWS["age"]


@pytest.mark.parametrize(
    ("values", "options", "task"),
    [
        (["0", "1"], {}, BinaryTask("table", ("no", "yes"))),
        (["case", "control"], {}, BinaryTask("table", ("control", "case"))),
        (["2.0", "0", "1"], {}, GradeTask("table", ("grade_0", "grade_1", "grade_2"))),
        (["0", "1"], {"kind": "grade"}, GradeTask("table", ("grade_0", "grade_1"))),
        (["worse", "bad"], {"classes": ["good", "bad", "worse"], "referable_from": 2},
         GradeTask("table", ("good", "bad", "worse"), 2)),
        (["sick", "well"], {"classes": ["well", "sick"]}, BinaryTask("table", ("well", "sick"))),
    ],
)  # fmt: skip
def test_values_make_the_task(
    values: list[str], options: dict[str, Any], task: Any, tmp_path: Path, photos: Path
) -> None:
    rows = ROWS | {"outcome": [values[i % len(values)] for i in range(24)]}
    found = source(tmp_path, photos, rows, **options)
    assert found.task == task
    targets = dict(zip(rows["outcome"], found.read_table()["target"], strict=True))
    assert [task.classes[targets[value]] for value in values] == [
        {"0": "no", "1": "yes"}.get(v, v) if task.kind == "binary" else v if v.isalpha() else f"grade_{v[0]}"
        for v in values
    ]


def test_paths_splits_labels_and_parquet(tmp_path: Path, photos: Path) -> None:
    rows = {"path": [f"{name}.jpg" for name in ROWS["photo"]], "a": ["0", "1"] * 12, "b": ["1", "1", "0"] * 8,
            "split": ["train"] * 12 + ["Validation"] * 6 + ["test"] * 5 + [""]}  # fmt: skip
    frame = pd.DataFrame(rows).astype({"a": int, "b": int})
    frame["a"] = frame["a"].astype("Int64")
    frame.loc[3, "a"] = pd.NA
    frame.to_parquet(tmp_path / "own.parquet")
    found = TableSource(file=str(tmp_path / "own.parquet"), root=str(photos), columns={"target": ["a", "b"]})
    table = found.read_table()
    assert found.task == MultilabelTask("table", ("a", "b")) and table["target"][1] == (1, 1)
    assert table["id"][0] == "p0_right" and table["split"][3] == "predict" and table["target"][3] is None
    assert table["split"].value_counts().to_dict() == {"train": 11, "val": 6, "test": 5, "predict": 1, "": 1}


def test_numbers_are_a_task_of_their_own(tmp_path: Path, photos: Path) -> None:
    ages = [f"{50 + i / 2}" if i else "" for i in range(24)]
    found = source(tmp_path, photos, ROWS | {"age": ages, "born": [f"{1980 - i}" for i in range(24)]}, **NUMBER)
    table = found.read_table()
    assert found.task == NumberTask("table", ("age",)) and table["target"][3] == 51.5
    assert table["split"][0] == "predict" and table["target"][0] is None
    assert ["column born tells" in note and "rank correlation" in note for note in found.notes] == [True]
    with pytest.raises(ConfigError, match=r"data\.kind=number is for data=table"):
        FolderSource(root=str(photos), kind="number")


def test_a_column_that_tells_the_outcome_is_noted(tmp_path: Path, photos: Path) -> None:
    leaking = {"score": [f"{0.9 if v == 'yes' else 0.1}{i}" for i, v in enumerate(ROWS["outcome"])]}
    found = source(tmp_path, photos, ROWS | leaking)
    found.read_table()
    assert ["column score tells" in note for note in found.notes] == [True]


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        ({"outcome": ["0", "sick", "2"] * 8}, {}, "mixes grades and"),
        ({"outcome": ["0.5", "0.7", "1.5"] * 8}, {}, "numbers that are no grades"),
        ({"outcome": ["yes"] * 24}, {}, "one value only, yes"),
        ({"outcome": ["a", "b", "c"] * 8}, {"kind": "binary"}, "data.kind=binary has two"),
        ({"outcome": ["a", "b", "c"] * 8}, {"classes": ["a", "b"]}, "holds c, which data.classes= does not name"),
        ({"side": ["up"] * 24}, {}, "column side holds up; eye is one of"),
        ({"photo": [*ROWS["photo"][:2], "p0_left", *ROWS["photo"][3:]]}, {}, "p0_left has the labels"),
        ({}, {"columns": COLUMNS | {"target": "outcom"}}, "column 'outcom' is missing"),
        ({}, {"columns": COLUMNS | {"eyes": "side"}}, "data.columns.eyes is unknown"),
        ({}, {"columns": {"id": "photo"}}, "has no column 'target'"),
        ({}, {"columns": {"target": "outcome"}}, "no column 'id' and none 'path'"),
        ({}, {"columns": COLUMNS | {"target": ["outcome", "side"]}}, "not 0 or 1"),
        ({"outcome": ["a", "b", "c"] * 8}, {"prevalence": 0.1}, "data.prevalence= is for yes or no"),
        ({}, {"file": None}, "needs data.file="),
        ({}, {"file": "/nowhere/own.csv"}, "/nowhere/own.csv"),
        ({}, {"file": "/nowhere/own.parquet"}, "does not exist"),
        ({}, {"columns": COLUMNS | {"target": "photo"}}, "no two alike"),
        ({"path": ["", *(f"{name}.jpg" for name in ROWS["photo"][1:])]}, {}, "1 rows have no path (first: row 2)"),
        ({}, {"referable_from": 1}, "data.referable_from= is for grades"),
        ({"outcome": ["a|b", "c"] * 12}, {}, "names that no class can have ('a|b')"),
        ({"outcome": ["a" * 101, "c"] * 12}, {}, "names that no class can have"),
        ({"outcome": ["a\nb", "c"] * 12}, {}, "names that no class can have"),
        ({}, {"kind": "ordinal"}, "valid: auto, binary, grade"),
        ({"age": ["51", "old", "60"] * 8}, NUMBER, "holds old among the numbers of data.kind=number"),
        ({"age": ["51.5", "NaN", "inf"] * 8}, NUMBER, "holds NaN, inf among the numbers"),
        ({"age": ["51.5", "60", "1e300"] * 8}, NUMBER, "holds 1e300; give numbers in a unit in which they stay below"),
        ({"age": ["51"] * 24}, NUMBER, "one value only, 51"),
        ({"age": ["51.50", "51.5"] * 12}, NUMBER, "one value only"),
        ({"age": [""] * 24}, NUMBER, "holds no values"),
        ({}, NUMBER | {"classes": ["a", "b"], "prevalence": 0.1}, "data.kind=number has no classes"),
        ({}, {"kind": "number", "columns": COLUMNS | {"target": ["age", "photo"]}}, "learns one column"),
        ({}, {"columns": COLUMNS | {"target": "age"}}, "data.kind=number learns values on a scale"),
    ],
)
def test_tables_that_cannot_be_used(
    change: dict[str, list[str]], options: dict[str, Any], told: str, tmp_path: Path, photos: Path
) -> None:
    with pytest.raises(UserError) as caught:
        data = TableDataModule(cache=tmp_path / "cache", **_options(tmp_path, photos, ROWS | change, options))
        data.checked_table()
    assert told in str(caught.value)


def _options(tmp_path: Path, photos: Path, rows: dict[str, list[str]], options: dict[str, Any]) -> dict[str, Any]:
    pd.DataFrame(rows).to_csv(tmp_path / "own.csv", index=False)
    return {"file": str(tmp_path / "own.csv"), "root": str(photos), "columns": COLUMNS} | options


def test_one_name_for_two_photographs(tmp_path: Path, photos: Path) -> None:
    rows = {"id": ["a", "a", "b"], "path": ["p0_left.jpg", "p1_left.jpg", "p2_left.jpg"], "target": ["1", "1", "0"]}
    with pytest.raises(DataError, match=r"1 names stand for two different photographs \(a\)"):
        source(tmp_path, photos, rows, columns=None).read_table()


def tree(
    root: Path, parts: tuple[str, ...] = ("train", "val", "test"), classes: tuple[str, ...] = ("aNormal", "bDR")
) -> Path:
    number = 0
    for part in parts:
        for name in classes:
            for _ in range(3):
                number += 1
                write_image(root / part / name / f"p{number // 2}_{'left' if number % 2 else 'right'}.png", number)
    return root


def test_folders_as_retfounds_users_have_them(tmp_path: Path) -> None:
    data = FolderDataModule(
        root=str(tree(tmp_path / "own")), cache=tmp_path / "cache", num_workers=0, preprocessing=PREPROCESSING,
        patient_pattern="(p[0-9]+)_(left|right)",
    )  # fmt: skip
    data.setup()
    assert data.task == BinaryTask("folder", ("aNormal", "bDR"))
    assert data.table["split"].value_counts().to_dict() == {"train": 6, "val": 6, "test": 6}
    row = data.table.set_index("id").loc["train/bDR/p2_left"]
    assert (row["target"], row["patient"], row["eye"]) == (1, "p2", "left")
    assert any("classes by the names of the folders: aNormal, bDR" in note for note in data.notes)


def test_folders_of_classes_alone_and_in_another_order(tmp_path: Path) -> None:
    root = tree(tmp_path / "own", parts=("",), classes=("mild", "none", "severe"))
    found = FolderSource(root=str(root), classes=["none", "mild", "severe"], referable_from=2)
    table = found.read_table()
    assert found.task == GradeTask("folder", ("none", "mild", "severe"), 2) and set(table["split"]) == {""}
    assert table.set_index("source")["target"].to_dict() == {"none": 0, "mild": 1, "severe": 2}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"root": "/nowhere"}, "/nowhere"),
        ({"root": None}, "set data.root=FOLDER"),
        ({"classes": ["aNormal", "cDR"]}, "holds bDR, which data.classes= does not name"),
        ({"patient_pattern": "(p"}, "no regular expression"),
        ({"patient_pattern": "p"}, "needs a group in brackets"),
    ],
)
def test_folders_that_cannot_be_used(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    root = tree(tmp_path / "own", parts=("train",))
    with pytest.raises((DataError, ConfigError)) as caught:
        FolderSource(**({"root": str(root)} | options)).read_table()
    assert told in str(caught.value)
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="no folders of classes"):
        FolderSource(root=str(tmp_path / "void"))


def test_photographs_whose_names_are_not_utf8_are_left_out_and_told(tmp_path: Path) -> None:
    root = tree(tmp_path / "own")
    file = next((root / "train" / "bDR").iterdir())
    file.rename(file.with_name("\udcff=1+1.png"))
    data = FolderDataModule(root=str(root), cache=tmp_path / "cache", num_workers=0, preprocessing=PREPROCESSING)
    data.setup()
    assert len(data.table) == 17
    told = "1 photographs left out, whose names are not UTF-8: train/bDR/\\xff=1+1.png"
    assert told in data.notes
