"""Written cohorts: the owners' trees, the same bytes for the same seed, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from retinai.errors import UserError
from retinai.synthetic import cohort
from retinai.synthetic.cohort import LAYOUTS, write_cohort
from retinai.synthetic.patients import draw_patients
from retinai.synthetic.shots import shares
from retinai.synthetic.summary import count_labels, next_command
from retinai.synthetic.tables import write_xlsx

GRADING = "B. Disease Grading"


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_aptos_tree(synthetic_aptos: Path) -> None:
    assert sorted(p.name for p in synthetic_aptos.iterdir()) == ["test.csv", "test_images", "train.csv", "train_images"]
    table = pd.read_csv(synthetic_aptos / "train.csv", dtype={"id_code": str})
    assert list(table.columns) == ["id_code", "diagnosis"]
    assert table["id_code"].str.fullmatch("[0-9a-f]{12}").all()
    assert len(table) == table["id_code"].nunique() == 60
    assert {p.stem for p in (synthetic_aptos / "train_images").glob("*.png")} == set(table["id_code"])
    assert Counter(table["diagnosis"]).most_common(1)[0][0] == 0
    unlabelled = pd.read_csv(synthetic_aptos / "test.csv", dtype=str)
    assert {p.stem for p in (synthetic_aptos / "test_images").iterdir()} == set(unlabelled["id_code"])


def test_aptos_holds_one_photograph_twice_with_one_label(synthetic_aptos: Path) -> None:
    labels = pd.read_csv(synthetic_aptos / "train.csv", index_col="id_code", dtype={"id_code": str})["diagnosis"]
    groups: dict[str, list[str]] = {}
    for path in (synthetic_aptos / "train_images").iterdir():
        groups.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), []).append(path.stem)
    twice = [names for names in groups.values() if len(names) > 1]
    assert [len(names) for names in twice] == [2]
    assert labels[twice[0][0]] == labels[twice[0][1]]


def test_image_size_says_nothing_about_the_grade(synthetic_aptos: Path) -> None:
    table = pd.read_csv(synthetic_aptos / "train.csv", dtype={"id_code": str})
    sizes = [Image.open(synthetic_aptos / "train_images" / f"{name}.png").size for name in table["id_code"]]
    per_size = pd.Series(table["diagnosis"].to_numpy()).groupby([str(s) for s in sizes]).nunique()
    assert len(per_size) >= 3
    assert (per_size >= 3).all()


def test_idrid_tables_are_as_odd_as_the_owners(synthetic_idrid: Path) -> None:
    folder = synthetic_idrid / GRADING / "2. Groundtruths"
    training = (folder / "a. IDRiD_Disease Grading_Training Labels.csv").read_bytes()
    testing = (folder / "b. IDRiD_Disease Grading_Testing Labels.csv").read_bytes()
    assert training.startswith(b"Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,\r\nIDRiD_001,")
    assert testing.startswith(b"Image name,Retinopathy grade,Risk of macular edema \r\nIDRiD_001,")
    assert training.count(b"\r\n") == training.count(b"\n") == 41
    assert testing.count(b"\n") == 11


def test_idrid_headers_equal_the_real_ones(synthetic_idrid: Path, idrid_root: Path) -> None:
    for path in (idrid_root / GRADING / "2. Groundtruths").glob("*.csv"):
        ours = (synthetic_idrid / GRADING / "2. Groundtruths" / path.name).read_bytes()
        assert ours.split(b"\n")[0] == path.read_bytes().split(b"\n")[0]


def test_idrid_photographs_and_risk_of_oedema(synthetic_idrid: Path) -> None:
    for letter, word, count in (("a", "Training", 40), ("b", "Testing", 10)):
        folder = synthetic_idrid / GRADING / "1. Original Images" / f"{letter}. {word} Set"
        assert [p.stem for p in sorted(folder.iterdir())] == [f"IDRiD_{i:03d}" for i in range(1, count + 1)]
        file = f"{letter}. IDRiD_Disease Grading_{word} Labels.csv"
        table = pd.read_csv(synthetic_idrid / GRADING / "2. Groundtruths" / file)
        assert table.loc[table["Retinopathy grade"] < 2, "Risk of macular edema "].eq(0).all()
        assert set(table["Retinopathy grade"]) == {0, 1, 2, 3, 4}
        assert table["Risk of macular edema "].nunique() >= 2


def test_idrid_masks(synthetic_idrid: Path) -> None:
    part = synthetic_idrid / "A. Segmentation"
    masks = sorted(part.glob("2. All Segmentation Groundtruths/*/*/*.tif"))
    modes = Counter(Image.open(path).mode for path in masks)
    assert modes["P"] > modes["RGBA"] > 0
    for path in masks:
        image = Image.open(path)
        photograph = part / "1. Original Images" / path.parts[-3] / f"{path.stem.rsplit('_', 1)[0]}.jpg"
        assert image.size == Image.open(photograph).size
        if image.mode == "P":
            assert image.getpalette()[:6] == [0, 0, 0, 255, 0, 0]
            assert set(np.unique(np.asarray(image))) == {0, 1}
            assert set(np.unique(np.asarray(image.convert("L")))) == {0, 76}
        assert np.asarray(image.convert("RGB"))[..., 0].any()
    discs = len(list(part.glob("2. All Segmentation Groundtruths/*/5. Optic Disc/*.tif")))
    soft = len(list(part.glob("2. All Segmentation Groundtruths/*/4. Soft Exudates/*.tif")))
    assert soft < discs == len(list(part.glob("1. Original Images/*/*.jpg")))


def test_most_of_part_a_occurs_in_part_b_also_across_the_split(synthetic_idrid: Path) -> None:
    grading = {v: k for k, v in digests(synthetic_idrid / GRADING).items()}
    segmentation = digests(synthetic_idrid / "A. Segmentation" / "1. Original Images")
    matches = [(name, grading[value]) for name, value in segmentation.items() if value in grading]
    assert len(segmentation) / 2 < len(matches) < len(segmentation)
    assert any(("Training" in a) != ("Training" in b) for a, b in matches)


def test_odir_workbook(synthetic_odir: Path) -> None:
    table = pd.read_excel(synthetic_odir / "ODIR-5K_Training_Annotations(Updated)_V2.xlsx", dtype=object)
    assert list(table.columns) == [
        *("ID", "Patient Age", "Patient Sex", "Left-Fundus", "Right-Fundus"),
        *("Left-Diagnostic Keywords", "Right-Diagnostic Keywords", "N", "D", "G", "C", "A", "H", "M", "O"),
    ]
    assert {type(value) for value in table["ID"]} == {int, str}
    files = {*table["Left-Fundus"], *table["Right-Fundus"]}
    assert files == {p.name for p in (synthetic_odir / "Training Images").iterdir()}
    assert (table[list("NDGCAHMO")].sum() > 0).all()
    assert (table["N"].astype(bool) != table[list("DGCAHMO")].any(axis=1)).all()
    words = [*table["Left-Diagnostic Keywords"], *table["Right-Diagnostic Keywords"]]
    assert any("\uff0c" in text for text in words)


def test_odir_of_kaggle(synthetic_odir_kaggle: Path) -> None:
    table = pd.read_csv(synthetic_odir_kaggle / "full_df.csv")
    assert list(table.columns)[-4:] == ["filepath", "labels", "target", "filename"]
    assert 56 <= len(table) <= 60  # all but the eyes that show no fundus
    assert {p.name for p in (synthetic_odir_kaggle / "preprocessed_images").iterdir()} == set(table["filename"])
    inner = synthetic_odir_kaggle / "ODIR-5K" / "ODIR-5K"
    assert {p.name for p in inner.iterdir()} == {"data.xlsx", "Training Images", "Testing Images"}
    first = Image.open(synthetic_odir_kaggle / "preprocessed_images" / table["filename"][0])
    assert first.size == (112, 112)


def test_odir_of_the_course(synthetic_odir_course: Path) -> None:
    patients: dict[str, set[str]] = {}
    counts = {}
    for name, file in (
        ("train", "train.csv"),
        ("val", "val.csv"),
        ("offsite_test", "offsite_test.csv"),
        ("onsite_test", "onsite_test_submission.csv"),
    ):
        table = pd.read_csv(synthetic_odir_course / file)
        assert list(table.columns) == ["id", "D", "G", "A"]
        assert {p.name for p in (synthetic_odir_course / "images" / name).iterdir()} == set(table["id"])
        patients[name] = {str(i).split("_")[0] for i in table["id"]}
        counts[name] = len(table)
    assert counts == {"train": 40, "val": 10, "offsite_test": 10, "onsite_test": 12}
    assert patients["train"] & patients["val"]


def test_a_patient_has_the_labels_of_both_eyes() -> None:
    patients = draw_patients(np.random.default_rng(0), 60)
    assert len({p.number for p in patients}) == 60
    for patient in patients:
        diseases = (patient.eyes[0].classes | patient.eyes[1].classes) - {"N"}
        assert patient.flags == [int(not diseases), *(int(name in diseases) for name in "DGCAHMO")]


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_the_number_of_workers_does_not_change_a_byte(layout: str, tmp_path: Path) -> None:
    n = LAYOUTS[layout][1]
    one, other = tmp_path / "one", tmp_path / "other"
    write_cohort(one, layout, n, 64, 3, workers=1, progress=False)
    write_cohort(other, layout, n, 64, 3, workers=2, progress=False)
    assert digests(one) == digests(other)
    assert sum(count for _, count in count_labels(one, layout)) > 0
    assert str(one) in next_command(one, layout)


def test_masks_are_written_only_when_asked_for(tmp_path: Path, synthetic_aptos: Path) -> None:
    write_cohort(tmp_path / "c", "aptos", 10, 96, 0, workers=1, progress=False, masks=True)
    assert not (synthetic_aptos / "masks").exists()
    photographs = sorted((tmp_path / "c" / "train_images").iterdir())
    for photograph in photographs:
        folder = tmp_path / "c" / "masks" / "train_images" / photograph.stem
        assert {"artery.png", "vein.png", "optic_disc.png"} <= {p.name for p in folder.iterdir()}
        mask = Image.open(folder / "vein.png")
        assert mask.size == Image.open(photograph).size
        assert set(np.unique(np.asarray(mask))) == {0, 255}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "messidor"}, "layout=messidor is unknown; valid: aptos, idrid, odir"),
        ({"n": 3}, "n=3 is too few for layout=aptos; give n=10 or more"),
        ({"size": 12}, "size=12 is out of range; give 64 to 4288"),
        ({"seed": -1}, "seed=-1 is negative"),
        ({"workers": 0}, "workers=0 is too few"),
    ],
)
def test_wrong_arguments_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    arguments = {"layout": "aptos", "n": 10, "size": 64, "seed": 0, **change}
    with pytest.raises(UserError, match=message):
        write_cohort(tmp_path / "c", progress=False, **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_folder_with_content_is_refused_and_an_empty_one_is_filled(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not an empty folder"):
        write_cohort(full, "aptos", 10, 64, 0, progress=False)
    assert [p.name for p in full.iterdir()] == ["mine.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    write_cohort(empty, "aptos", 10, 64, 0, workers=1, progress=False)
    assert (empty / "train.csv").is_file()


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cohort, "take", full)
    with pytest.raises(UserError, match="the disk is full"):
        write_cohort(tmp_path / "c", "aptos", 10, 64, 0, workers=1, progress=False)
    assert not list(tmp_path.iterdir())


def test_shares_follow_the_wanted_parts() -> None:
    found = Counter(shares(np.random.default_rng(0), 100, (0.35, 0.15, 0.25, 0.12, 0.13)))
    assert found == {0: 35, 1: 15, 2: 25, 3: 12, 4: 13}
    assert set(shares(np.random.default_rng(0), 5, (0.9, 0.04, 0.03, 0.02, 0.01))) == {0, 1, 2, 3, 4}


def test_a_workbook_holds_what_it_was_given_and_no_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    rows = [["1", 54, "a\uff0cb"], [2, 61, "c"]]
    write_xlsx(tmp_path / "a.xlsx", ["ID", "age", "words"], rows)
    later = time.time() + 86400
    monkeypatch.setattr(time, "time", lambda: later)
    write_xlsx(tmp_path / "b.xlsx", ["ID", "age", "words"], rows)
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    table = pd.read_excel(tmp_path / "a.xlsx", dtype=object)
    assert table.to_numpy().tolist() == rows
