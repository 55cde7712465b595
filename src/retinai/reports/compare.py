"""Runs side by side: single runs, and groups that differ only in fold or seed."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retinai.errors import UserError
from retinai.files import write_csv, write_text
from retinai.log import printable
from retinai.prediction.metrics import compute_metrics
from retinai.prediction.paired import paired_differences
from retinai.prediction.predictions import Predictions, concatenate
from retinai.reports.tables import PageTable
from retinai.reports.wording import with_interval
from retinai.tasks.task import all_metric_labels

# What a row tells of a run; columns that would be empty are left out.
_FACTS = ("data", "model", "backbone", "loss", "teacher", "attention", "topology", "consistency", "guidance", "seed",
          "fold")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run or evaluation, read from its folder.

    Args:
        folder: Its folder.
        record: Content of `run.json` or `evaluation.json`.
        metrics: Content of `metrics.json`.
        predictions: Content of `predictions.csv`.
        group: Equal for runs that differ only in fold or seed.
    """

    folder: Path
    record: dict[str, Any]
    metrics: dict[str, Any]
    predictions: Predictions
    group: str


@dataclass(frozen=True)
class DamagedRun:
    """A run whose files cannot be used.

    Args:
        folder: Its folder.
        reason: Which file, and what is wrong with it, in one line.
    """

    folder: Path
    reason: str


@dataclass(frozen=True)
class Row:
    """A row of the comparison.

    Args:
        kind: `run`, `mean` (over the runs of a group), `pooled` (all their predictions together),
            `difference` (to another group) or `damaged`.
        name: What the row is.
        facts: What `run.json` tells of it, see `_FACTS`.
        n: Photographs; None of a damaged run.
        metrics: Metric -> value, low, high; for `mean` low and high are the smallest and the largest
            run, and `sd` the standard deviation between the runs.
        problem: Of a damaged run, which file and what is wrong with it.
    """

    kind: str
    name: str
    facts: dict[str, Any]
    n: int | None
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    problem: str = ""

    @property
    def is_summary(self) -> bool:
        """Whether the row tells of several runs."""
        return self.kind not in ("run", "damaged")


def compare(
    runs: Sequence[Run], resamples: int = 1000, against: str | None = None, damaged: Sequence[DamagedRun] = ()
) -> list[Row]:
    """Return the rows: every run, after each group of several its mean and its pooled metrics, then the damaged runs.

    Args:
        runs: Of `load_runs`, in order.
        resamples: Bootstrap resamples of the pooled intervals.
        against: Folder of one of the runs; every other group then also gets its difference to that run's group,
            paired by photograph.
        damaged: Of `load_runs`; they take no part in means and pooled metrics.

    Raises:
        UserError: If `against` is none of the runs, or a damaged one.
        DataError: If a group has other photographs than the one it is compared with.
    """
    if against is not None:
        _check_usable(against, damaged)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    rows = []
    for members in groups.values():
        rows += [_single(run) for run in members]
        if len(members) > 1:
            rows += [_mean(members), _pooled(members, resamples)]
        if against is not None and members is not (reference := _group_of(against, groups)):
            rows.append(_difference(members, reference, resamples))
    facts: dict[str, Any] = dict.fromkeys(_FACTS)
    return rows + [Row("damaged", str(run.folder), facts, None, problem=run.reason) for run in damaged]


def _check_usable(against: str, damaged: Sequence[DamagedRun]) -> None:
    for run in damaged:
        if run.folder.resolve() == Path(against).resolve():
            raise UserError(f"against={against} cannot be compared with: {run.reason}")


def _group_of(folder: str, groups: dict[str, list[Run]]) -> list[Run]:
    for members in groups.values():
        if any(run.folder.resolve() == Path(folder).resolve() for run in members):
            return members
    raise UserError(f"against={folder} is none of the runs that are compared; name one of their folders")


def _difference(members: Sequence[Run], reference: Sequence[Run], resamples: int) -> Row:
    first, second = (concatenate([run.predictions for run in side]) for side in (members, reference))
    metrics = paired_differences(first, second, resamples)
    name = f"difference to {reference[0].folder}" + (f" and {len(reference) - 1} more" if len(reference) > 1 else "")
    return Row("difference", name, _shared(members), len(first), _values(metrics))


def _facts(run: Run) -> dict[str, Any]:
    return {key: run.record.get(key) for key in _FACTS}


def _values(metrics: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    return {key: metrics[key] for key in all_metric_labels() if key in metrics}


def _single(run: Run) -> Row:
    return Row("run", str(run.folder), _facts(run), int(run.metrics["n"]), _values(run.metrics))


def _shared(members: Sequence[Run]) -> dict[str, Any]:
    """Return the facts that all runs of a group agree on."""
    facts = [_facts(run) for run in members]
    return {key: value if all(f[key] == value for f in facts) else None for key, value in facts[0].items()}


def _mean(members: Sequence[Run]) -> Row:
    metrics: dict[str, dict[str, float | None]] = {}
    for key in _values(members[0].metrics):
        values = [run.metrics[key]["value"] for run in members if run.metrics.get(key, {}).get("value") is not None]
        if len(values) < len(members):
            metrics[key] = {"value": None, "low": None, "high": None, "sd": None}
            continue
        spread = float(np.std(values, ddof=1))
        metrics[key] = {"value": float(np.mean(values)), "low": min(values), "high": max(values), "sd": spread}
    return Row("mean", f"mean of {len(members)} runs", _shared(members), sum(r.metrics["n"] for r in members), metrics)


def _pooled(members: Sequence[Run], resamples: int) -> Row:
    """Measure the predictions of all runs together; a patient's are resampled together in all of them."""
    pooled = compute_metrics(concatenate([run.predictions for run in members]), resamples=resamples)
    return Row("pooled", f"{len(members)} runs pooled", _shared(members), pooled["n"], _values(pooled))


def metric_keys(rows: Sequence[Row]) -> list[str]:
    """Return the metrics that any row has, in the usual order."""
    return [key for key in all_metric_labels() if any(key in row.metrics for row in rows)]


def cell(row: Row, key: str) -> str:
    """Return a metric of a row as text: value with interval, or for a mean value, sd and range."""
    metric = row.metrics.get(key)
    if metric is None or metric["value"] is None:
        return "-"
    if row.kind == "mean":
        return f"{metric['value']:.3f} ± {metric['sd']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"
    return with_interval(metric, signed=row.kind == "difference")


def to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return one row per row, and value, low, high (and for means sd) of every metric as numbers."""
    table = []
    for row in rows:
        numbers = {
            f"{key}{'' if part == 'value' else '_' + part}": row.metrics.get(key, {}).get(part)
            for key in metric_keys(rows)
            for part in ("value", "low", "high", "sd")
        }
        table.append(
            {"kind": row.kind, "run": row.name, **row.facts, "n": row.n, **numbers, "problem": row.problem or None}
        )
    return pd.DataFrame(table).dropna(axis="columns", how="all")


def _text_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return headers and cells as text; facts that no row has are left out, and problems where there are none."""
    facts = [key for key in rows[0].facts if any(row.facts[key] is not None for row in rows)]
    keys = metric_keys(rows)
    labels = all_metric_labels()
    headers = ["run", *facts, "n", *(labels[key] for key in keys)]
    body = []
    for row in rows:
        known = ["" if row.facts[f] is None else str(row.facts[f]) for f in facts]
        body.append([row.name, *known, "-" if row.n is None else str(row.n), *(cell(row, key) for key in keys)])
    if any(row.problem for row in rows):
        headers.append("problem")
        body = [[*line, row.problem] for line, row in zip(body, rows, strict=True)]
    return headers, body


NOTE = (
    "Values with 95 % bootstrap intervals, clustered by patient. A mean stands with the standard deviation between "
    "runs and their range; pooled rows measure the predictions of all runs of a group together. Differences are "
    "paired: the same patients are drawn on both sides."
)


def to_markdown(rows: Sequence[Row], tables: Sequence[PageTable] = ()) -> str:
    """Return the comparison as Markdown, and further tables below it."""
    parts = []
    if rows:
        headers, body = _text_table(rows)
        bold = [
            [f"**{c}**" if c and row.is_summary else c for c in cells] for row, cells in zip(rows, body, strict=True)
        ]
        parts += [*_markdown_table(headers, bold), "", NOTE, ""]
    for table in tables:
        note = [printable(table.note), ""] if table.note else []
        parts += [f"## {printable(table.title)}", "", *note, *_markdown_table(table.headers, table.lines), ""]
    return "\n".join(parts)


def _markdown_table(headers: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    numbers = ["---:" if header == "n" else "---" for header in headers]
    plain = [[printable(" ".join(text.splitlines())).replace("|", "\\|") for text in line] for line in body]
    return ["| " + " | ".join(line) + " |" for line in [headers, numbers, *plain]]


def to_html(
    rows: Sequence[Row],
    title: str = "Runs side by side",
    tables: Sequence[PageTable] = (),
    figures: Sequence[tuple[str, bytes]] = (),
) -> str:
    """Return the comparison as a page that stands alone.

    Args:
        rows: Of `compare`.
        title: Heading.
        tables: Further tables below it.
        figures: Caption and content of PNG files, below the tables.
    """
    from retinai.reports.templates import render

    headers, body = _text_table(rows) if rows else ([], [])
    lines = [(row.is_summary, cells) for row, cells in zip(rows, body, strict=True)]
    images = [(caption, base64.b64encode(png).decode()) for caption, png in figures]
    return render(
        "compare.html.j2", title=title, headers=headers, lines=lines, note=NOTE, tables=tables, figures=images
    )


def write_comparison(
    rows: Sequence[Row],
    out: Path,
    formats: Sequence[str],
    title: str = "Runs side by side",
    tables: Sequence[PageTable] = (),
    figures: Sequence[tuple[str, bytes]] = (),
) -> str:
    """Write `report.md`, `report.csv` and `report.html`; return the Markdown.

    Args:
        rows: Of `compare`; may be empty where there are tables.
        out: The folder of the files.
        formats: Which of `md`, `csv` and `html`.
        title: As in `to_html`.
        tables: As in `to_html`.
        figures: As in `to_html`.
    """
    markdown = to_markdown(rows, tables)
    if "md" in formats:
        write_text(out / "report.md", markdown)
    if "csv" in formats and rows:
        write_csv(out / "report.csv", to_frame(rows))
    if "html" in formats:
        write_text(out / "report.html", to_html(rows, title, tables, figures))
    return markdown
