"""Label files that are damaged or doubtful: each is refused with the file, the place and what is wrong."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from retinai.data.sources.label_files import parse_flags, parse_grades, read_labels
from retinai.data.sources.label_table import as_targets, check_paths
from retinai.errors import DataError
from retinai.tasks.known import DR_GRADE, ODIR_COURSE

HEAD = b"id_code,diagnosis\n"

CSV: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "blank lines": (b"\n\n", "'id_code', 'diagnosis' is missing"),
    "header only": (HEAD, "a header but no rows"),
    "rows without labels": (b"id_code,diagnosis,site\n,,x\n", "no row has a value in column 'id_code', 'diagnosis'"),
    "picture": (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "line 1 is not UTF-8"),
    "latin-1": (HEAD + b"a,1\nb\xe9,2\n", "line 3 is not UTF-8"),
    "utf-16": (HEAD.decode().encode("utf-16"), "line 1 is not UTF-8"),
    "half a character": (HEAD + b"a\xed\xa0\x80,1\n", "line 2 is not UTF-8"),
    "zero byte": (HEAD + b"a,1\nb\0,2\n", "line 3 holds a zero byte"),
    "second column": (b"id_code,diagnosis,diagnosis\na,1,4\n", "'diagnosis' stands there twice"),
    "second column after a space": (b"id_code,diagnosis, diagnosis \na,1,4\n", "'diagnosis' stands there twice"),
    "one field too many": (HEAD + b"a,1,0\nb,2,0\n", "2 rows have more fields.*row 2 has 3, the header 2"),
    "one field too many once": (HEAD + b"a,1\nb,2,0\n", "1 rows have more fields.*row 3 has 3"),
    "value without a column": (b"id_code,diagnosis,,\na,1,,\nb,2,x,\n", "row 3 has the value 'x' in column 3"),
    "open quotes": (HEAD + b'a,1\n"b,2\nc,3\n', "line 3: unexpected end of data"),
    "field without end": (HEAD + b"a," + b"x" * 200_000 + b"\n", "line 2: field larger than"),
    "semicolons": (b"id_code;diagnosis\na;1\n", "found: 'id_code;diagnosis'"),
    "long header": (b"x" * 9000 + b"\n1\n", r"found: 'x+\.\.\. \(9,000 characters\)'"),
}


@pytest.mark.parametrize(("content", "told"), CSV.values(), ids=CSV.keys())
def test_doubtful_csv_files(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"(?s)labels\.csv.*{told}") as caught:
        read_labels(path, ["id_code", "diagnosis"])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def _workbook() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"id_code": ["a", "b"], "diagnosis": [1, 2]}).to_excel(buffer, index=False)
    return buffer.getvalue()


def _with_sheet(change: Callable[[bytes], bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_workbook())) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith("sheet1.xml") else content)
    return buffer.getvalue()


def _flipped() -> bytes:
    content = bytearray(_workbook())
    for place in range(200, len(content), 50):
        content[place] ^= 0xFF
    return bytes(content)


XLSX: dict[str, Callable[[], bytes]] = {
    "text": lambda: b"no workbook",
    "cut": lambda: _workbook()[:2000],
    "cut XML": lambda: _with_sheet(lambda xml: xml[: len(xml) // 2]),
    "empty XML": lambda: _with_sheet(lambda xml: b""),
    "flipped bytes": _flipped,
    "number that is none": lambda: _with_sheet(lambda xml: xml.replace(b"<v>1</v>", b"<v>one</v>")),
    "bomb": lambda: _with_sheet(lambda xml: xml + b" " * 2**30),
}


@pytest.mark.parametrize("make", XLSX.values(), ids=XLSX.keys())
def test_damaged_workbooks(tmp_path: Path, make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "labels.xlsx"
    if make is XLSX["bomb"]:
        monkeypatch.setattr("retinai.data.sources.label_files.MAX_TEXT_BYTES", 2**20)
        path.write_bytes(_with_sheet(lambda xml: xml + b" " * 2**21))
    else:
        path.write_bytes(make())
    with pytest.raises(DataError, match=r"labels\.xlsx is not a whole xlsx workbook") as caught:
        read_labels(path, ["id_code", "diagnosis"])
    assert "\n" not in str(caught.value)


def test_workbooks_are_held_to_the_same_shape(tmp_path: Path) -> None:
    path = tmp_path / "labels.xlsx"
    for header, told in (
        (["id_code", "diagnosis", "diagnosis"], "twice"),
        (["id_code", "diagnosis", None], "no name|more fields"),
    ):
        pd.DataFrame([header, ["a", 1, 2]]).to_excel(path, index=False, header=False)
        with pytest.raises(DataError, match=told):
            read_labels(path, ["id_code", "diagnosis"])
    pd.DataFrame([["id_code", "diagnosis"], [None, None], [7.0, 1.5]]).to_excel(path, index=False, header=False)
    assert read_labels(path, ["id_code"]).values.tolist() == [["7", "1.5", 3]]


def test_a_formula_that_nobody_calculated_is_no_empty_cell(tmp_path: Path) -> None:
    path = tmp_path / "labels.xlsx"
    pd.DataFrame([["id", "sex"], ["a", "=1+1"], ["b", None]]).to_excel(path, index=False, header=False)
    with pytest.raises(DataError, match=r"cell B2 holds a formula whose value is not in the file; open and save"):
        read_labels(path, ["id"])
    pd.DataFrame([["id", "sex"], ["a", "m"], ["b", None]]).to_excel(path, index=False, header=False)
    assert read_labels(path, ["id"])["sex"].tolist() == ["m", ""]


@pytest.mark.parametrize(
    ("make", "told"),
    [(os.mkfifo, "a named pipe"), (Path.mkdir, "a folder"), (lambda p: p.symlink_to("/dev/zero"), "a device")],
    ids=["pipe", "folder", "device"],
)
def test_what_is_no_file_is_not_opened(tmp_path: Path, make: Callable[[Path], None], told: str) -> None:
    make(tmp_path / "labels.csv")
    with pytest.raises(DataError, match=rf"labels\.csv cannot be used: {told}"):
        read_labels(tmp_path / "labels.csv", ["id"])


def test_rows_keep_their_line_when_a_field_has_several(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b'id,words\r\na,"one\r\ntwo"\r\n\r\nb,"say ""x"""\r\n')
    assert read_labels(path, ["id", "words"]).values.tolist() == [["a", "one\r\ntwo", 2], ["b", 'say "x"', 5]]


GRADES = ["5", "-1", "1.5", "nan", "inf", "1e0", "0x1", "9" * 5000, "\u00b2", "1_0", "True", "--1", "1 2"]


@pytest.mark.parametrize("value", GRADES)
def test_what_is_no_grade_and_no_flag(value: str) -> None:
    labels = pd.DataFrame({"id": ["a"], "D": [value], "G": ["0"], "A": ["1.0"], "row": [2]})
    with pytest.raises(DataError, match=r"row 2 \(a\): "):
        parse_grades(labels, "D", "id", DR_GRADE, Path("t.csv"))
    with pytest.raises(DataError, match=r"row 2 \(a\), D: ") as caught:
        parse_flags(labels, ODIR_COURSE.classes, "id", Path("t.csv"))
    assert len(str(caught.value)) < 200
    with pytest.raises(DataError) as caught:  # both eyes of a row
        parse_flags(pd.concat([labels, labels], ignore_index=True), ODIR_COURSE.classes, "id", Path("t.csv"))
    assert str(caught.value).count("row 2") == 1


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "a/../../../secret", "..", "."])
def test_ids_that_lead_out_of_the_root_are_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "data"
    rows = pd.DataFrame(
        {"id": ["b", name], "path": [str(root / "sub" / "b"), str(root / name)], "target": as_targets([1, 2])}
    ).assign(source=["t.csv", "second.csv"])
    with pytest.raises(DataError, match=r"t\.csv: 1 ids lead out of .*data: "):
        check_paths(rows, root, "t.csv")
    (tmp_path / "second.csv").touch()
    with pytest.raises(DataError, match=r"second\.csv: 1 ids lead out of .*data: "):
        check_paths(rows, root, tmp_path / "t.csv")
    check_paths(rows[:1], root, "t.csv")
