from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from retinai.data.sources.label_files import parse_flags, parse_grades, read_labels
from retinai.data.sources.label_table import as_targets, check_files, check_table, few
from retinai.errors import DataError
from retinai.tasks.known import DR_GRADE, ODIR_COURSE


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def table(ids, targets, **columns) -> pd.DataFrame:
    values = {"path": [f"{i}.png" for i in ids], "patient": ids, "eye": "", "split": "", "source": "t.csv"} | columns
    return pd.DataFrame({"id": ids, "target": as_targets(targets), **values})


def test_a_message_leaves_out_the_middle_of_a_long_value() -> None:
    assert few(["a", "b"]) == "a, b"
    said = few(["9" * 5000, "b"])
    assert len(said) < 300 and said.endswith("9 ... (5000 characters), b")


def test_header_spaces_and_empty_columns_are_dropped(tmp_path):
    path = write(tmp_path, "\ufeffImage name,Risk ,,,\r\nIDRiD_001, 2,,,\r\n,,,,\r\nIDRiD_002,0,,,\r\n")
    labels = read_labels(path, ["Image name", "Risk"])
    assert list(labels.columns) == ["Image name", "Risk", "row"]
    assert labels.values.tolist() == [["IDRiD_001", "2", 2], ["IDRiD_002", "0", 4]]


def test_xlsx_ids_that_are_numbers_or_text_become_text(tmp_path):
    path = tmp_path / "labels.xlsx"
    pd.DataFrame({"ID": [5, "7", "x9"], "N": [0, 1, None]}).to_excel(path, index=False)
    labels = read_labels(path, ["ID", "N"])
    assert labels["ID"].tolist() == ["5", "7", "x9"]
    assert labels["N"].tolist()[2] == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["is empty"]),
        ("id_code,level\na,1\n", ["'diagnosis' is missing", "'id_code', 'level'"]),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", ["labels.csv"]),
    ],
)
def test_files_that_are_no_label_file(tmp_path, content, words):
    with pytest.raises(DataError) as caught:
        read_labels(write(tmp_path, content), ["id_code", "diagnosis"])
    assert all(word in str(caught.value) for word in words)


def test_missing_file_and_broken_workbook(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_labels(tmp_path / "none.csv", ["id"])
    (tmp_path / "broken.xlsx").write_text("no workbook")
    with pytest.raises(DataError, match=r"broken\.xlsx"):
        read_labels(tmp_path / "broken.xlsx", ["id"])


def test_wrong_grades_are_named_with_row_and_id(tmp_path):
    path = write(tmp_path, "id_code,diagnosis\na,1\nb,5\nc,two\nd,1.5\ne,\nf,4\n")
    labels = read_labels(path, ["id_code", "diagnosis"])
    with pytest.raises(DataError) as caught:
        parse_grades(labels, "diagnosis", "id_code", DR_GRADE, path)
    for part in ("row 3 (b): '5'", "row 4 (c): 'two'", "row 5 (d): '1.5'", "row 6 (e): ''", "0 to 4"):
        assert part in str(caught.value)
    assert "(f)" not in str(caught.value)


def test_grades_as_floats_are_whole_numbers(tmp_path):
    path = write(tmp_path, "id_code,diagnosis\na,1.0\nb,3\n")
    grades = parse_grades(read_labels(path, ["id_code"]), "diagnosis", "id_code", DR_GRADE, path)
    assert grades == [1, 3] and all(type(g) is int for g in grades)


def test_flags(tmp_path):
    path = write(tmp_path, "id,D,G,A\nx,1,0,1\ny,0,2,0\nz,,0,1\n")
    labels = read_labels(path, ["id"])
    with pytest.raises(DataError) as caught:
        parse_flags(labels, ["D", "G", "A"], "id", path)
    assert "row 3 (y), G: '2'" in str(caught.value) and "row 4 (z), D: ''" in str(caught.value)
    assert parse_flags(labels[:1], ["D", "G", "A"], "id", path) == [(1, 0, 1)]


def test_an_id_with_two_labels_is_refused_and_a_repeated_row_dropped():
    same = check_table(table(["a", "b", "a"], [1, 2, 1]), DR_GRADE, "t.csv")
    assert same["id"].tolist() == ["a", "b"]
    with pytest.raises(DataError, match=r"a has the labels 1 and 3 \(rows 2, 4\)"):
        check_table(table(["a", "b", "a"], [1, 2, 3], row=[2, 3, 4]), DR_GRADE, "t.csv")
    with pytest.raises(DataError, match="a has the patients x and z"):
        check_table(table(["a", "b", "a"], [1, 2, 1], patient=["x", "y", "z"]), DR_GRADE, "t.csv")
    with pytest.raises(DataError, match="a has the parts train and val"):
        check_table(table(["a", "b", "a"], [1, 2, 1], split=["train", "val", "val"]), DR_GRADE, "t.csv")


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"eye": ["middle", ""]}, "eye='middle' (id a)"),
        ({"split": ["", "testing"]}, "split='testing' (id b)"),
        ({"patient": ["", "p"]}, "patient=''"),
    ],
)
def test_values_that_are_not_allowed(columns, word):
    with pytest.raises(DataError) as caught:
        check_table(table(["a", "b"], [1, 2], **columns), DR_GRADE, "t.csv")
    assert word in str(caught.value) and "t.csv" in str(caught.value)


def test_targets_must_fit_the_task():
    for target in (7, (1, 0, 1), "2"):
        with pytest.raises(DataError, match="target="):
            check_table(table(["a"], [target]), DR_GRADE, "t.csv")
    good = check_table(table(["a", "b"], [(1, 0, 1), None]), ODIR_COURSE, "t.csv")
    assert good["target"].tolist() == [(1, 0, 1), None]
    with pytest.raises(DataError, match="target="):
        check_table(table(["a"], [(1, 0)]), ODIR_COURSE, "t.csv")
    with pytest.raises(DataError, match="no photographs"):
        check_table(table([], []), DR_GRADE, "t.csv")


def test_missing_photographs_are_told_all_at_once(tmp_path):
    (tmp_path / "p3.png").write_bytes(b"x")
    paths = [str(tmp_path / f"p{i}.png") for i in range(9)]
    with pytest.raises(DataError) as caught:
        check_files(pd.DataFrame({"path": paths}), tmp_path)
    assert "8 of 9" in str(caught.value) and "p0.png, p1.png, p2.png, p4.png, p5.png and 3 more" in str(caught.value)
    check_files(pd.DataFrame({"path": paths[3:4]}), tmp_path)
