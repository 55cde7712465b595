"""Layouts of prediction files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retinai.errors import UserError
from retinai.prediction.layouts import choose_layout, write_layout
from retinai.prediction.photographs import Photographs, find_photographs
from retinai.tasks.known import DR_GRADE, ODIR_8, ODIR_COURSE


def table(task, p: np.ndarray, names: list[str], predictions: list[object]) -> tuple[pd.DataFrame, Photographs]:
    photographs = Photographs([Path(n).stem for n in names], [f"photos/{n}" for n in names])
    columns = {f"p_{name}": p[:, i] for i, name in enumerate(task.classes)}
    rows = {"id": photographs.ids, "path": photographs.paths, "prediction": pd.Series(predictions, dtype=object)}
    return pd.DataFrame({**rows, **columns, "error": ""}), photographs


def test_odir_joins_the_two_eyes_of_a_patient() -> None:
    p = np.tile([[0.1], [0.8], [0.3]], (1, 8))
    rows, photographs = table(ODIR_8, p, ["7_left.jpg", "7_right.jpg", "12_left.jpg"], ["", "N", ""])
    out = write_layout("odir", rows, ODIR_8, photographs)
    assert list(out.columns) == ["ID", *ODIR_8.classes]
    assert out["ID"].tolist() == ["7", "12"]
    assert out["D"].tolist() == [0.8, 0.3] and out["N"].tolist() == [0.1, 0.3]


def test_course_and_kaggle_leave_the_cells_of_bad_files_empty() -> None:
    p = np.array([[0.9, 0.2, 0.49], [np.nan] * 3])
    rows, photographs = table(ODIR_COURSE, p, ["1_left.jpg", "2_left.jpg"], ["D", None])
    assert write_layout("course", rows, ODIR_COURSE, photographs).to_csv(index=False) == (
        "id,D,G,A\n1_left.jpg,1,0,0\n2_left.jpg,,,\n"
    )
    rows, photographs = table(DR_GRADE, np.full((2, 5), 0.2), ["a.png", "b.png"], [3, None])
    assert write_layout("kaggle", rows, DR_GRADE, photographs).to_csv(index=False) == "id_code,diagnosis\na,3\nb,\n"


def test_the_layout_follows_images_and_task() -> None:
    loose, kaggle = Photographs(["a"], ["a.png"]), Photographs(["a"], ["a.png"], from_kaggle=True)
    assert choose_layout("auto", DR_GRADE, loose) == "retinai"
    assert choose_layout("auto", DR_GRADE, kaggle) == "kaggle"
    assert choose_layout("auto", ODIR_COURSE, loose) == "course"
    assert choose_layout("auto", ODIR_8, kaggle) == "retinai"
    for wanted, task in (("kaggle", ODIR_8), ("course", DR_GRADE), ("odir", DR_GRADE), ("xml", DR_GRADE)):
        with pytest.raises(UserError):
            choose_layout(wanted, task, loose)


def test_files_are_found_in_order_with_names_of_their_own(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/a.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_photographs(str(tmp_path))
    assert [Path(p).relative_to(tmp_path).as_posix() for p in found.paths] == ["a.JPG", "b.png", "sub/a.png"]
    assert found.ids[1] == "b" and len(set(found.ids)) == 3
    assert find_photographs(str(tmp_path / "*.png")).ids == ["b"]
    assert find_photographs(str(tmp_path / "notes.txt")).ids == ["notes"]


def test_kaggles_list_decides_rows_and_order(tmp_path: Path) -> None:
    (tmp_path / "test_images").mkdir()
    (tmp_path / "test_images" / "0e1.png").touch()
    (tmp_path / "test.csv").write_text("id_code\nffff\n0e1\n")
    found = find_photographs(str(tmp_path / "test_images"))
    assert found.ids == ["ffff", "0e1"] and found.from_kaggle
