"""Pages that stand alone: style and images are inside the one file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retinai.reports.contact_sheet import Mistake
from retinai.reports.figures import readable
from retinai.reports.sections import ReportSection
from retinai.reports.templates import jpeg, render
from retinai.reports.wording import headline_sentences, labelled_metrics
from retinai.tasks.task import Task

_CLASS_COLUMNS = {
    "precision": "precision",
    "recall": "recall (sensitivity)",
    "f1": "F1",
    "specificity": "specificity",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}


def report_page(
    metrics: Mapping[str, Any],
    *,
    title: str,
    details: Mapping[str, Any],
    figures: Sequence[tuple[str, Path]],
    mistakes: Sequence[Mistake],
    config: str = "",
    sections: Sequence[ReportSection] = (),
) -> str:
    """Return the report of one evaluation as one HTML page.

    Args:
        metrics: Content of `metrics.json`.
        title: Heading.
        details: What to tell of the run; `notes` (list of str) becomes a section.
        figures: Caption and PNG file of each figure.
        mistakes: The worst mistakes, worst first.
        config: The run's configuration as YAML.
        sections: More sections, below the figures.
    """
    first: Mapping[str, Any] = next(iter(metrics["per_class"].values()), {})
    columns = {key: label for key, label in _CLASS_COLUMNS.items() if key in first}
    return render(
        "report.html.j2",
        title=title,
        n=metrics["n"],
        patients=metrics["patients"],
        resamples=metrics["resamples"],
        sentences=headline_sentences(metrics),
        notes=list(details.get("notes") or []),
        metrics=labelled_metrics(metrics),
        class_columns=list(columns.values()),
        classes=[
            (readable(name), row["support"], [row[key] for key in columns])
            for name, row in metrics["per_class"].items()
        ],
        figures=[(caption, base64.b64encode(path.read_bytes()).decode()) for caption, path in figures],
        sections=sections,
        mistakes=[(mistake, None if mistake.image is None else jpeg(mistake.image)) for mistake in mistakes],
        mistakes_order=Task.from_dict(metrics["task"]).mistakes_order,
        facts=flatten({key: value for key, value in details.items() if key != "notes"}),
        config=config,
    )


def flatten(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Return nested details as name and text; empty ones are left out."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{above}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += flatten(value, f"{name}: ")
        elif value is None or value == "" or value == []:
            continue
        elif isinstance(value, (list, tuple)):
            rows.append((name, ", ".join(map(str, value))))
        else:
            rows.append((name, f"{value:.6g}" if isinstance(value, float) else str(value)))
    return rows
