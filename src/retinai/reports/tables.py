"""A table below the comparison of runs, for who has more to tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PageTable:
    """A table of a page.

    Args:
        title: Its heading.
        headers: One per column.
        lines: The cells of each line, as text.
        note: A sentence above it.
    """

    title: str
    headers: Sequence[str]
    lines: Sequence[Sequence[str]]
    note: str = ""
