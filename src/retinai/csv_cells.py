r"""Texts in the cells of a CSV file: a spreadsheet shows them as text, and reading gives back the same text.

Two things are written differently from what they are:

- What a spreadsheet would calculate. A text that begins with `=`, `+`, `-`, `@`, a tab, a line break or a full-width
  form of these gets an apostrophe in front (OWASP, "CSV Injection"). A text that begins with apostrophes followed by
  such a character gets one apostrophe more, so that reading, which takes one away, gives back what was written.
- What UTF-8 cannot hold or a line of CSV should not. A byte of a file name that is not UTF-8 is written as `\xff`, a
  lone surrogate as `\ud800`, a control character other than tab and line feed as `\x0d`. Backslashes that stand right
  before such a piece of text are doubled, so that the two can be told apart.

Every other text is written as it is, numbers always.
"""

from __future__ import annotations

import re

_PIECE = r"x[0-9a-f]{2}|ud[89a-f][0-9a-f]{2}"
# Python keeps the byte b of a file name that is not UTF-8 as the lone surrogate U+DC00 + b (PEP 383).
_UNWRITABLE = r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]"
_TO_ESCAPE = re.compile(rf"(\\*)({_UNWRITABLE})|(\\+)(?={_PIECE})")
_ESCAPED = re.compile(rf"(\\+)({_PIECE})")
_CALCULATED = re.compile(r"'*[=+\-@\t\n\uff1d\uff0b\uff0d\uff20]")
_QUOTED = re.compile(r"'+[=+\-@\t\n\uff1d\uff0b\uff0d\uff20]")
_BYTES = 0xDC00


def to_cell(text: str) -> str:
    """Return a text as it stands in a CSV file, see the head of this module; also fit to be printed."""
    text = _TO_ESCAPE.sub(_escape, text)
    return "'" + text if _CALCULATED.match(text) else text


def from_cell(cell: str) -> str:
    """Return the text that `to_cell` wrote."""
    text = cell[1:] if _QUOTED.match(cell) else cell
    return _ESCAPED.sub(_unescape, text)


def is_utf8(text: str) -> bool:
    """Return whether a text, such as the name of a file, can be written in UTF-8 as it is."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _escape(match: re.Match[str]) -> str:
    before, unwritable, literal = match.groups()
    if literal is not None:
        return 2 * str(literal)
    code = ord(unwritable)
    if 0x80 <= code - _BYTES <= 0xFF:
        code -= _BYTES
    return f"{2 * before}\\{f'x{code:02x}' if code <= 0xFF else f'u{code:04x}'}"


def _unescape(match: re.Match[str]) -> str:
    backslashes, piece = match.groups()
    literal = "\\" * (len(backslashes) // 2)
    if len(backslashes) % 2 == 0:
        return literal + str(piece)
    code = int(piece[1:], 16)
    return literal + chr(code + _BYTES if piece[0] == "x" and code >= 0x80 else code)
