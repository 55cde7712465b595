r"""Texts in CSV files: a spreadsheet calculates none, every one can be written, and all are read back."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retinai.csv_cells import from_cell, to_cell
from retinai.errors import UserError
from retinai.files import read_csv, write_csv

CALCULATED = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("", ""),
        ("913_right.jpg", "913_right.jpg"),
        ("a=b", "a=b"),
        ("'quoted'", "'quoted'"),
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\n=1", "'\n=1"),
        ("\r=1", r"\x0d=1"),
        ("\uff1d1", "'\uff1d1"),
        ("'=1", "''=1"),
        ("''=1", "'''=1"),
        ("caf\udce9", r"caf\xe9"),
        (r"caf\xe9", r"caf\\xe9"),
        ("\\\udce9", r"\\\xe9"),
        (r"C:\data\new", r"C:\data\new"),
        ("a\0b", r"a\x00b"),
        ("\ud800", r"\ud800"),
    ],
)
def test_texts_and_their_cells(text: str, cell: str) -> None:
    assert to_cell(text) == cell
    assert from_cell(cell) == text


def test_any_text_is_harmless_and_read_back() -> None:
    chosen = random.Random(0)
    letters = ["'", *CALCULATED, "\\", *'x0dfu8 a,"', "\udcff", "\udc80", "\ud800", "\0", "é"]
    for _ in range(20_000):
        text = "".join(chosen.choices(letters, k=chosen.randint(0, 8)))
        cell = to_cell(text)
        cell.encode()
        assert cell[:1] not in set(CALCULATED) and from_cell(cell) == text, (text, cell)


def test_a_table_is_read_back(tmp_path: Path) -> None:
    ids = ["=1+1", "NA", "caf\udce9", "two\nlines", "cut\rhere", 'a "b", c', " spaced ", ""]
    numbers = np.linspace(-1 / 3, 1e-17, len(ids))
    columns = {"id": pd.Series(ids, dtype=object), "-p": numbers, "grade": pd.Series([1, None] * 4, dtype=object)}
    write_csv(tmp_path / "t.csv", pd.DataFrame(columns))
    table = read_csv(tmp_path / "t.csv")
    assert list(table.columns) == ["id", "-p", "grade"] and table["id"].tolist() == ids
    assert table["-p"].astype(float).tolist() == numbers.tolist()  # numbers are numbers, negative ones too
    assert table["grade"].tolist() == ["1", ""] * 4
    raw = read_csv(tmp_path / "t.csv", escaped=False)
    assert raw["id"][0] == "'=1+1" and raw["'-p"][0].startswith("-0.33")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"id\n\xff\n", "no text in UTF-8"),
        (b"id,p\n1,2,3\n", "line 2 has 3 cells"),
        (b"id,p\n1\n", "line 2 has 1 cells"),
        (b'id,p\n"1,2\n', "not readable as a table"),
        (b"id,p\n1,\0\n", "not readable as a table"),
        (b"id,id\n1,2\n", "a column stands there twice"),
    ],
)
def test_a_file_that_is_no_table_is_named_with_the_reason(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=rf"t\.csv.*{reason}"):
        read_csv(tmp_path / "t.csv")
