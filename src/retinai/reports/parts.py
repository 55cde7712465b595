"""What a kind of module or a prediction step adds to an evaluation, beyond what every evaluation has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retinai.reports.sections import ReportSection, ReportTable


@dataclass(frozen=True)
class ReportPart:
    """One subject's part of an evaluation, such as the answers of a language model.

    Args:
        name: Its key in `metrics.json`.
        metrics: Its content there, plain values.
        sections: Sections of `report.html`, below the figures.
        lines: Sentences for the console.
        tables: Tables for the console, by title.
    """

    name: str
    metrics: Mapping[str, Any]
    sections: Sequence[ReportSection] = ()
    lines: Sequence[str] = ()
    tables: Mapping[str, ReportTable] = field(default_factory=dict)
