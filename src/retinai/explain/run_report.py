"""Where a network looks, as a section of the report of its run."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retinai.files import read_text, write_text
from retinai.reports.templates import render

REPORT = "report.html"
_BEGIN, _END = "<!-- where it looks -->", "<!-- end of where it looks -->"
_BEFORE = "<h2>How it was made</h2>"


def add_to_report(report: Path, content: Mapping[str, Any], figures: Sequence[tuple[str, Path]]) -> bool:
    """Put a section into the report of a run, or in place of the one of an earlier explanation.

    Args:
        report: `report.html` of the run.
        content: Of `results.summarise`.
        figures: Caption and PNG file of each figure.

    Returns:
        Whether it was done: not where there is no report, one of another make, or nothing to show.
    """
    page = read_text(report) if report.is_file() else ""
    if not figures or page.count(_BEFORE) != 1:
        return False
    begin, end = page.find(_BEGIN), page.find(_END)
    if 0 <= begin < end:
        page = page[:begin] + page[end + len(_END) :].lstrip("\n")
    section = render(
        "section.html.j2",
        folder=Path(__file__).parent,
        title="Where it looks, by grade" if content["target"] in ("decided", "true") else "Where it looks",
        text=f"Maps of {', '.join(content['methods'])} over {content['photographs']} photographs of the "
        f"{content['split']} part; explained is the {content['score']}, layer {content['layer']}.",
        figures=[(caption, base64.b64encode(path.read_bytes()).decode()) for caption, path in figures],
    )
    write_text(report, page.replace(_BEFORE, f"{_BEGIN}\n{section}{_END}\n{_BEFORE}"))
    return True
