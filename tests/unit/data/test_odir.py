from __future__ import annotations

import pandas as pd
import pytest
import torch
from tiny_trees import PREPROCESSING, write_image

from retinai.data.sources.odir import OdirDataModule
from retinai.data.sources.odir_keywords import class_of, decode_keywords, split_keywords
from retinai.errors import ConfigError, DataError
from retinai.tasks.known import ODIR_8

KEYWORDS = {
    "normal fundus": "N",
    "moderate non proliferative retinopathy": "D",
    "severe nonproliferative retinopathy": "D",
    "suspected diabetic retinopathy": "D",
    "suspected glaucoma": "G",
    "cataract": "C",
    "catarct": "C",
    "wet age-related macular degeneration": "A",
    "hypertensive retinopathy": "H",
    "pathological myopia": "M",
    "myopic maculopathy": "M",
    "maculopathy": "O",
    "epiretinal membrane over the macula": "O",
    "pigment epithelium proliferation": "O",
    "refractive media opacity": "O",
    "lens dust": "",
    "low image quality": "",
    "optic disk photographically invisible": "",
    "image offset": "",
    "no fundus image": "",
    "anterior segment image": "",
    "purple haze": None,
}


def names(labels) -> str:
    return "".join(n for n, flag in zip(ODIR_8.classes, labels, strict=True) if flag)


@pytest.mark.parametrize(("keyword", "expected"), KEYWORDS.items())
def test_class_of_keywords(keyword, expected):
    assert class_of(keyword) == expected


def test_full_width_and_ascii_commas_separate():
    text = "Mild nonproliferative retinopathy\uff0c lens dust , suspected abnormal color of  optic disc"
    assert split_keywords(text) == [
        "mild nonproliferative retinopathy",
        "lens dust",
        "suspected abnormal color of optic disc",
    ]
    assert names(decode_keywords(text).labels) == "DO"


@pytest.mark.parametrize(
    ("text", "labels", "why"),
    [
        ("normal fundus\uff0clens dust", "N", ""),
        ("normal fundus,drusen", "O", ""),
        ("no fundus image", None, "no fundus image"),
        ("anterior segment image\uff0ccataract", None, "anterior segment image"),
        ("low image quality", None, "no finding given"),
        ("", None, "no finding given"),
    ],
)
def test_eyes_with_and_without_labels(text, labels, why):
    eye = decode_keywords(text)
    assert (None if eye.labels is None else names(eye.labels), eye.why) == (labels, why)


def workbook(root, rows):
    """Write rows of (ID, left keywords, right keywords, patient's classes) as the owner does."""
    sides = ("Left", "Right")
    flags = [[int(name in classes) for name in ODIR_8.classes] for *_, classes in rows]
    table = pd.DataFrame(
        [
            [i, 60, "Female", f"{i}_left.jpg", f"{i}_right.jpg", left, right, *flags[number]]
            for number, (i, left, right, _) in enumerate(rows)
        ],
        columns=["ID", "Patient Age", "Patient Sex", *(f"{s}-Fundus" for s in sides),
                 *(f"{s}-Diagnostic Keywords" for s in sides), *ODIR_8.classes],
    )  # fmt: skip
    root.mkdir(exist_ok=True)
    table.to_excel(root / "ODIR-5K_Training_Annotations(Updated)_V2.xlsx", index=False)
    for number, (i, *_) in enumerate(rows):
        for side, eye in enumerate(("left", "right")):
            write_image(root / "Training Images" / f"{i}_{eye}.jpg", 2 * number + side)
    return root


def build(root, cache, **options) -> OdirDataModule:
    options = {"preprocessing": PREPROCESSING, "batch_size": 4, "near_duplicates": False} | options
    return OdirDataModule(root=str(root), cache=cache, **options)


def test_official_rows_become_eyes(tmp_path):
    rows = [
        (7, "normal fundus", "cataract\uff0clens dust", "C"),
        ("12", "no fundus image", "glaucoma,drusen", "GO"),
        ("13", "strange thing", "normal fundus", "O"),
        ("14", "normal fundus", "drusen", "D"),
    ]
    data = build(workbook(tmp_path / "odir", rows), tmp_path)
    table = data.source.read_table().set_index("id")
    assert {i: names(t) for i, t in table["target"].items()} == {
        "7_left": "N", "7_right": "C", "12_right": "GO", "13_left": "O", "13_right": "N", "14_left": "N",
        "14_right": "O",
    }  # fmt: skip
    assert table.loc["7_left", ["patient", "eye"]].tolist() == ["7", "left"]
    assert data.notes == [
        "1 eyes left out (no fundus image: 1)",
        "keywords taken as O because the owner's label says so: strange thing",
        "the keywords of 1 patients name other diseases than the owner's label per patient (ID 14); the keywords count",
    ]


def test_unknown_keywords_are_listed_or_left_out(tmp_path):
    rows = [(1, "normal fundus", "glaukoma", "G"), (2, "catract,drusen", "normal fundus", "C")]
    root = workbook(tmp_path / "odir", rows)
    with pytest.raises(DataError) as caught:
        build(root, tmp_path).source.read_table()
    assert "2 diagnostic keywords" in str(caught.value)
    assert "'glaukoma' (row 2)" in str(caught.value) and "'catract' (row 3)" in str(caught.value)
    data = build(root, tmp_path, unknown_keywords="skip")
    assert data.source.read_table()["id"].tolist() == ["1_left", "2_right"]
    assert data.notes == ["2 eyes left out (unknown keyword: 2)"]


@pytest.mark.parametrize(("fixture", "layout"), [("synthetic_odir", "official"), ("synthetic_odir_kaggle", "kaggle")])
def test_synthetic_cohorts_by_patient(request, tmp_path, fixture, layout):
    root = request.getfixturevalue(fixture)
    data = build(root, tmp_path, limit=None)
    assert data.source.layout == layout
    data.setup()
    known = data.table[data.table["split"] != "predict"]
    assert (known.groupby("patient")["split"].nunique() == 1).all()
    assert known["eye"].isin(["left", "right"]).all() and set(known["split"]) == {"train", "val", "test"}
    assert (data.table["split"] == "predict").any()


def test_batches_are_multilabel(synthetic_odir, tmp_path):
    data = build(synthetic_odir, tmp_path, limit=8, sampler="weighted")
    batch = next(iter(data.train_dataloader()))
    assert batch["target"].shape == (4, 8) and batch["target"].dtype == torch.float32
    assert "target" not in next(iter(data.predict_dataloader()))


def course(root):
    """Write the course's tree: 40 patients of two eyes, dealt to the parts eye by eye."""
    eyes = [(f"{patient}_{eye}.jpg", patient % 3) for patient in range(40) for eye in ("left", "right")]
    parts = {"train": (0, 48), "val": (48, 60), "offsite_test": (60, 70), "onsite_test": (70, 80)}
    order = [(7 * i) % 80 for i in range(80)]
    for part, (first, last) in parts.items():
        chosen = [eyes[i] for i in order[first:last]]
        known = part != "onsite_test"
        lines = [f"{name},{','.join(str(int(known and c == k)) for k in range(3))}" for name, c in chosen]
        root.mkdir(exist_ok=True)
        file = f"{part}.csv" if known else f"{part}_submission.csv"
        (root / file).write_text("id,D,G,A\n" + "\n".join(lines) + "\n")
        for name, _ in chosen:
            write_image(root / "images" / part / name, int(name.split("_")[0]) * 2 + ("right" in name))
    return root


def test_course_layout_says_how_many_patients_it_shares(tmp_path):
    root = course(tmp_path / "course")
    data = build(root, tmp_path)
    data.setup()
    assert data.task.classes == ("D", "G", "A") and data.source.layout == "course"
    assert data.table["split"].value_counts().to_dict() == {"train": 48, "val": 12, "test": 10, "predict": 10}
    parts = data.table[data.table["split"] != "predict"].groupby("patient")["split"].agg(set)
    shared = sum(len(p) > 1 for p in parts)
    assert shared > 0 and data.notes == [f"{shared} patients occur in more than one of train, val and test"]
    assert data.split_table("predict")["id"].str.endswith(".jpg").all()
    assert data.split_table("test")["source"].unique().tolist() == ["offsite_test.csv"]

    anew = build(root, tmp_path, split="patient")
    anew.setup()
    assert anew.notes == [] and len(anew.table) == len(data.table)


def test_synthetic_course_cohort_is_read(synthetic_odir_course, tmp_path):
    table = build(synthetic_odir_course, tmp_path).source.read_table()
    assert set(table["split"]) == {"train", "val", "test", "predict"}


def test_options(tmp_path):
    with pytest.raises(ConfigError) as caught:
        OdirDataModule(layout="grand_challenge", split="random", unknown_keywords="drop")
    assert len(caught.value.problems) == 3
    with pytest.raises(DataError, match="Annotations"):
        build(tmp_path, tmp_path, layout="official").setup()
