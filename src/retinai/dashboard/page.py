"""The dashboard as one HTML file: data, style and scripts are inside, so it opens without a server or a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from retinai.dashboard.collect import Collected
from retinai.errors import missing_extra
from retinai.reports.templates import jpeg, render

if TYPE_CHECKING:
    from retinai.reports.contact_sheet import Mistake

_HERE = Path(__file__).parent


def dashboard_page(collected: Collected, title: str, mistakes: Sequence[Mistake] = (), mistakes_of: str = "") -> str:
    """Return the page.

    Args:
        collected: What to show.
        title: Its heading.
        mistakes: Photographs to show, of the run that `mistakes_of` names; none where that was not asked for.
        mistakes_of: Name of that run.

    Raises:
        MissingExtraError: If plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from error
    return render(
        "dashboard.html.j2",
        folder=_HERE,
        title=title,
        made=f"{datetime.now():%Y-%m-%d %H:%M}",
        plotly=get_plotlyjs(),
        style=(_HERE / "dashboard.css").read_text(encoding="utf-8"),
        script=(_HERE / "dashboard.js").read_text(encoding="utf-8"),
        data=_script_json(vars(collected)),
        problems=collected.problems,
        mistakes=[(mistake, None if mistake.image is None else jpeg(mistake.image)) for mistake in mistakes],
        mistakes_of=mistakes_of,
    )


def _script_json(values: object) -> str:
    """Return JSON that can stand inside a script element, whatever the names of runs hold."""
    text = json.dumps(values, allow_nan=False, separators=(",", ":"), default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
