"""Texts of others in messages."""

from __future__ import annotations

import pytest

from retinai.log import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb\x07", "a\\x1b[2Jb\\x07"),
        ("two\nlines\tand é 日本\u3000", "two\nlines\tand é 日本\u3000"),
        ("\u202etxt.exe", "\\x202etxt.exe"),
        ("\udcff\r", "\\xdcff\\x0d"),
    ],
)
def test_a_terminal_obeys_none_of_it(text: str, shown: str) -> None:
    assert printable(text) == shown
