"""The submission to ODIR's course: the rows of its list, in its order, or a refusal before anything is graded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_network import SMALL_NETWORK

from retinai.files import read_csv
from retinai.modules.checkpoint import store_calibration

Command = Callable[..., int]


@pytest.fixture(scope="module")
def course_checkpoint(synthetic_odir_course: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of task odir_course."""
    place = tmp_path_factory.mktemp("course")
    words = [
        "data=odir", f"data.root={synthetic_odir_course}", "data.num_workers=0",
        *SMALL_NETWORK, "backbone.input_size=32", "loss=bce", "trainer=cpu", "trainer.max_epochs=1",
        "data.limit=30",
        "trainer.limit_train_batches=1", "logger=none", "test=false", "calibrate=false", f"run_dir={place / 'run'}",
        f"paths.cache={place / 'cache'}",
    ]  # fmt: skip
    assert command("train", *words) == 0
    return place / "run" / "checkpoints" / "best.ckpt"


@pytest.fixture
def course(synthetic_odir_course: Path, tmp_path: Path) -> Path:
    """A copy of the course's tree whose list is not in the order of the names."""
    root = Path(shutil.copytree(synthetic_odir_course, tmp_path / "course"))
    file = root / "onsite_test_submission.csv"
    header, *rows = file.read_text().split()
    assert len(rows) > 2
    file.write_text("\n".join([header, *sorted(rows, reverse=True)]) + "\n")
    return root


def predict(command: Command, checkpoint: Path, images: Path | str, out: Path, *more: str) -> int:
    return command(
        "predict", f"ckpt={checkpoint}", f"images='{images}'", f"out={out}", "accelerator=cpu", "num_workers=0", *more
    )


@pytest.mark.parametrize("images", ["", "/*.jpg", "/**"])
def test_the_order_is_that_of_the_list(
    course_checkpoint: Path,
    course: Path,
    images: str,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = read_csv(course / "onsite_test_submission.csv")["id"].tolist()
    photos = course / "images" / "onsite_test"
    shutil.copy(photos / listed[0], photos / "0_extra.jpg")
    (photos / listed[1]).write_text("no photograph")
    assert predict(command, course_checkpoint, f"{photos}{images}", tmp_path / "p.csv") == 0
    said = capsys.readouterr().out
    table = read_csv(tmp_path / "p.csv")
    assert list(table.columns) == ["id", "D", "G", "A"] and table["id"].tolist() == listed
    assert table["D"].iloc[1] == "" and table["D"].drop(1).isin(["0", "1"]).all()
    assert "1 are not on the course's list" in said and "1 could not be read" in said


LISTS: list[tuple[str, Callable[[str], str], str]] = [
    ("a photograph more", lambda text: text + "9999_left.jpg,0,0,0\n", "1 are not given: 9999_left.jpg"),
    ("no rows", lambda text: text.split()[0] + "\n", "lists no photographs"),
    ("empty", lambda text: "", "is empty"),
    ("no ids", lambda text: text.replace("id,", "name,", 1), "column 'id' is missing"),
    ("ragged", lambda text: text + "1_left.jpg\n", "cells"),
    ("out of the folder", lambda text: text + "../1_left.jpg,0,0,0\n", "plain name of a file"),
    ("absolute", lambda text: text + "/etc/passwd,0,0,0\n", "plain name of a file"),
    ("empty id", lambda text: text + ",0,0,0\n", "plain name of a file"),
]


@pytest.mark.parametrize(("change", "reason"), [case[1:] for case in LISTS], ids=[case[0] for case in LISTS])
def test_a_list_that_cannot_be_followed_is_refused(
    course_checkpoint: Path,
    course: Path,
    change: Callable[[str], str],
    reason: str,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = course / "onsite_test_submission.csv"
    file.write_text(change(file.read_text()))
    photos = course / "images" / "onsite_test"
    assert predict(command, course_checkpoint, photos, tmp_path / "p.csv") == 2
    said = capsys.readouterr().err
    assert reason in said and file.name in said and "predicting" not in said
    assert not (tmp_path / "p.csv").exists()
    assert predict(command, course_checkpoint, photos, tmp_path / "p.csv", "format=retinai") == 0


def test_thresholds_that_the_checkpoint_does_not_keep_are_refused(
    course_checkpoint: Path, course: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = course / "images" / "onsite_test"
    assert predict(command, course_checkpoint, photos, tmp_path / "p.csv", "thresholds=validation") == 2
    assert "needs thresholds per label, which the model does not keep" in capsys.readouterr().err


def test_stored_thresholds_decide_what_is_submitted(
    course_checkpoint: Path, course: Path, command: Command, tmp_path: Path
) -> None:
    checkpoint = Path(shutil.copytree(course_checkpoint.parents[1], tmp_path / "run")) / "checkpoints" / "best.ckpt"
    thresholds = {"D": 0.0, "G": 1.0, "A": 1.0}
    store_calibration(
        checkpoint, {"temperature": 2.0, "scaling": "sigmoid", "operating_points": {}, "thresholds": thresholds}
    )
    photos = course / "images" / "onsite_test"
    assert predict(command, checkpoint, photos, tmp_path / "p.csv", "thresholds=validation") == 0
    table = read_csv(tmp_path / "p.csv")
    assert set(table["D"]) == {"1"} and set(table["G"]) == set(table["A"]) == {"0"}
    words = [f"ckpt={checkpoint}", "thresholds=validation", f"run_dir={tmp_path / 'e'}", "split=train", "num_workers=0"]
    assert command("evaluate", *words, "accelerator=cpu", f"paths.cache={tmp_path / 'cache'}") == 0
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["per_class"]["D"]["recall"]["value"] == 1
    assert metrics["per_class"]["G"]["recall"]["value"] == 0
    assert json.loads((tmp_path / "e" / "evaluation.json").read_text())["thresholds"] == thresholds


def test_patients_are_measured_beside_photographs(
    course_checkpoint: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"ckpt={course_checkpoint}", "split=train", "level=patient", "pooling=noisy_or", "num_workers=0"]
    places = [f"run_dir={tmp_path / 'e'}", f"paths.cache={tmp_path / 'cache'}"]
    assert command("evaluate", *words, *places, "accelerator=cpu") == 0
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    photographs, patients = (read_csv(tmp_path / "e" / f"{name}.csv") for name in ("predictions", "patients"))
    assert metrics["per_patient"]["n"] == metrics["patients"] == len(patients) == photographs["patient"].nunique()
    assert metrics["per_patient"]["patients_with_two_eyes"] == int((photographs["patient"].value_counts() == 2).sum())
    assert "noisy_or of the eyes" in capsys.readouterr().out
    assert command("evaluate", *words, "thresholds=validation", f"run_dir={tmp_path / 'f'}") == 2
    assert "were fitted on photographs" in capsys.readouterr().err


def test_some_of_the_listed_photographs_are_no_submission(
    course_checkpoint: Path, course: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = course / "images" / "onsite_test"
    next(photos.glob("*.jpg")).unlink()
    assert predict(command, course_checkpoint, photos, tmp_path / "p.csv") == 2
    assert "1 are not given" in capsys.readouterr().err
    assert predict(command, course_checkpoint, course / "images" / "val", tmp_path / "val.csv") == 0


KAGGLE: list[tuple[str, bytes, str]] = [
    ("empty", b"", "is empty"),
    ("no rows", b"id_code\n", "lists no photographs"),
    ("no text", b"id_code\n\xff\n", "no text in UTF-8"),
    ("ragged", b"id_code\na,b\n", "cells"),
    ("out of the folder", b"id_code\n../../secret\n", "plain name of a file"),
    ("absolute", b"id_code\n/etc/passwd\n", "plain name of a file"),
]


@pytest.mark.parametrize(("content", "reason"), [case[1:] for case in KAGGLE], ids=[case[0] for case in KAGGLE])
def test_a_test_csv_that_cannot_be_followed_is_refused(
    course_checkpoint: Path, content: bytes, reason: str, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "test_images").mkdir()
    (tmp_path / "test.csv").write_bytes(content)
    assert predict(command, course_checkpoint, tmp_path / "test_images", tmp_path / "p.csv") == 2
    said = capsys.readouterr().err
    assert reason in said and "test.csv" in said
