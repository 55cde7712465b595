"""EyePACS, Messidor-2, DDR and BRSET: what the writer draws is what the source reads, and their traps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_trees import PREPROCESSING

from retinai.data.datamodule import FundusDataModule
from retinai.data.sources.brset import BrsetDataModule
from retinai.data.sources.ddr import DdrDataModule
from retinai.data.sources.eyepacs import EyepacsDataModule
from retinai.data.sources.messidor2 import Messidor2DataModule
from retinai.errors import DataError
from retinai.synthetic.cohort import write_cohort
from retinai.synthetic.layout_graded import labels_of

KINDS: dict[str, Callable[..., FundusDataModule]] = {
    "eyepacs": EyepacsDataModule, "messidor2": Messidor2DataModule, "ddr": DdrDataModule, "brset": BrsetDataModule,
}  # fmt: skip


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("graded")
    for layout in KINDS:
        write_cohort(place / layout, layout, 40, size=64, seed=0, workers=1, progress=False)
    return {layout: place / layout for layout in KINDS}


def build(layout: str, root: Path, cache: Path, **options: Any) -> FundusDataModule:
    more = {"near_duplicates": False, "preprocessing": PREPROCESSING, "num_workers": 0, "batch_size": 4}
    return KINDS[layout](root=str(root), cache=cache, **(more | options))


@pytest.mark.parametrize("layout", KINDS)
def test_what_is_written_is_read_back(layout: str, roots: dict[str, Path], tmp_path: Path) -> None:
    data = build(layout, roots[layout], tmp_path)
    data.setup()
    graded = data.table[data.table["target"].notna()]
    assert sorted(graded["target"]) == sorted(labels_of(roots[layout], layout)) and data.task.name == "dr_grade"
    assert {"train", "val", "test"} <= set(graded["split"]) and min(data.class_counts) > 0
    assert graded.groupby("patient")["split"].nunique().max() == 1
    assert next(iter(data.train_dataloader()))["image"].shape == (4, 3, 32, 32)


def test_eyepacs_keeps_both_eyes_together_and_takes_the_solution_as_test(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    table = build("eyepacs", roots["eyepacs"], tmp_path).checked_table()
    assert set(table["split"]) == {"train", "test"} and set(table["eye"]) == {"left", "right"}
    assert (table.groupby("patient").size() == 2).all()
    assert (table["patient"] + "_" + table["eye"] == table["id"]).all()
    alone = tmp_path / "alone"
    shutil.copytree(roots["eyepacs"], alone)
    (alone / "retinopathy_solution.csv").unlink()
    split = build("eyepacs", alone, tmp_path)
    split.setup()
    assert set(split.table["split"]) == {"train", "val", "test"}
    assert split.table.groupby("patient")["split"].nunique().max() == 1


def test_messidor2_ungradable_ones_are_predicted_and_names_have_any_case(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    data = build("messidor2", roots["messidor2"], tmp_path)
    data.setup()
    assert len(data.split_table("predict")) == 2 and any("2 photographs are not gradable" in n for n in data.notes)
    assert any(path.endswith(".JPG") for path in data.table["path"])
    assert any("data.pairs=" in note for note in data.notes)
    columns = data.source.columns()
    assert set(columns) == {"dme", "gradable"} and set(columns["gradable"]) == {"0", "1"}
    names = data.table["id"].tolist()[:4]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"left,right\n{names[0]}.png,{names[1]}.jpg\n{names[2]}.png,\n")
    paired = build("messidor2", roots["messidor2"], tmp_path, pairs=str(pairs)).checked_table().set_index("id")
    assert paired.loc[names[0], "patient"] == paired.loc[names[1], "patient"] == f"{names[0]}+{names[1]}"
    assert paired.loc[names[:3], "eye"].tolist() == ["left", "right", "left"]
    pairs.write_text("left,right\nnobody.png,\n")
    with pytest.raises(DataError, match="1 names are no photographs"):
        build("messidor2", roots["messidor2"], tmp_path, pairs=str(pairs)).checked_table()
    with pytest.raises(DataError, match=r"data\.pairs=/nowhere is no file; give a CSV file"):
        build("messidor2", roots["messidor2"], tmp_path, pairs="/nowhere").checked_table()


def test_ddr_leaves_out_what_is_ungradable_and_keeps_the_official_parts(roots: dict[str, Path], tmp_path: Path) -> None:
    data = build("ddr", roots["ddr"] / "DR_grading", tmp_path)  # the folder itself will do
    table = data.checked_table()
    lines = [f.read_text().splitlines() for f in sorted((roots["ddr"] / "DR_grading").glob("*.txt"))]
    ungradable = sum(line.endswith(" 5") for part in lines for line in part)
    assert ungradable == 4 and f"{ungradable} photographs that the owners call ungradable" in data.notes[0]
    assert len(table) == sum(map(len, lines)) - ungradable and max(table["target"]) == 4
    data.setup()
    test = {Path(line.split()[0]).stem for line in lines[0] if not line.endswith(" 5")}  # test.txt
    assert set(data.split_table("test")["id"]) == test


def test_brset_reads_eyes_and_patients_and_offers_the_other_columns(roots: dict[str, Path], tmp_path: Path) -> None:
    owner = pd.read_csv(roots["brset"] / "labels_brset.csv", dtype=str)
    data = build("brset", roots["brset"], tmp_path)
    table = data.checked_table()
    assert table["eye"].tolist() == owner["exam_eye"].map({"1": "right", "2": "left"}).tolist()
    assert table["patient"].tolist() == owner["patient_id"].tolist() and table["patient"].nunique() < len(table)
    assert {"macular_edema", "patient_age", "Illuminaton", "quality"} <= set(data.source.columns())
    assert "DR_ICDR" not in data.source.columns()


@pytest.mark.parametrize(
    ("layout", "file", "old", "new", "told"),
    [
        ("eyepacs", "trainLabels.csv", "_left,", "_both,", "a patient and an eye, such as 10_left"),
        ("eyepacs", "trainLabels.csv", "level", "grade", "'level' is missing"),
        ("messidor2", "messidor_data.csv", ",1\n", ",yes\n", "labels must be 0 or 1"),
        ("messidor2", "messidor_data.csv", "adjudicated_dr_grade", "grade", "'adjudicated_dr_grade' is missing"),
        ("ddr", "DR_grading/valid.txt", " 4", " 6", "a file name and a class from 0 to 5"),
        ("ddr", "DR_grading/valid.txt", " ", "\t", "a file name and a class from 0 to 5"),
        ("ddr", "DR_grading/train.txt", "", "", "train.txt names no photographs"),
        ("brset", "labels_brset.csv", ",Brazil", ",Brazil,", "more fields than the header"),
        ("brset", "labels_brset.csv", ",yes,Brazil", ",9,yes,Brazil", "more fields than the header"),
    ],
)
def test_files_of_another_form_are_refused(
    layout: str, file: str, old: str, new: str, told: str, roots: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / layout
    shutil.copytree(roots[layout], root)
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old or text, new))
    with pytest.raises(DataError, match=told):
        build(layout, root, tmp_path).checked_table()


@pytest.mark.parametrize("layout", KINDS)
def test_another_folder_is_told(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root"):
        build(layout, tmp_path, tmp_path / "cache").checked_table()
