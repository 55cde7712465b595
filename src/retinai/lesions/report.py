"""What a text says of lesions against the masks, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retinai.reports.wording import with_interval

FINDINGS_HEADER = ("lesion", "photographs", "with it", "named", "precision", "recall", "invented")


def findings_rows(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows below FINDINGS_HEADER: one per lesion, and one of all together.

    Args:
        metrics: Of `findings_metrics`.
    """
    parts = [(lesion.replace("_", " "), values) for lesion, values in metrics["lesions"].items()]
    return [_row(name, values) for name, values in [*parts, ("all", metrics["all"])]]


def _row(name: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    shares = (with_interval(values[key], 2) for key in ("precision", "recall", "invented"))
    return name, str(values["photographs"]), str(values["present"]), str(values["named"]), *shares
