"""Sections that an evaluation adds to the report beyond what every report has."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ReportTable:
    """A table of text.

    Args:
        headers: One per column.
        rows: Cells, as many per row as there are headers.
        numbers: Whether the columns after the first hold numbers, which are set to the right.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: bool = True


@dataclass(frozen=True)
class ReportSection:
    """A section of the report, below the figures: text, then tables, then figures. All text is escaped.

    Args:
        title: Its heading.
        paragraphs: What it says.
        tables: Tables below the text.
        figures: Caption and PNG file of each figure.
    """

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[ReportTable] = ()
    figures: Sequence[tuple[str, Path]] = field(default=())

    def embedded(self) -> list[tuple[str, str]]:
        """Return caption and base64 of each figure."""
        return [(caption, base64.b64encode(path.read_bytes()).decode()) for caption, path in self.figures]
