"""What a dashboard shows of runs, read from their folders: plain values, ready for JSON."""

from __future__ import annotations

import math
import os.path
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from retinai.dashboard.jobs import jobs_without_run
from retinai.errors import UserError
from retinai.files import read_csv, read_json
from retinai.run.run_records import DAMAGED, RECORD, find_files, find_runs, is_number, metric_problems
from retinai.tasks.task import all_metric_labels

# Settings that say where a run lies or how it is told, not what it is.
_NOT_SHOWN = ("run_dir", "sweep", "resume", "debug", "phase_defaults", "paths", "logger", "callbacks", "hydra", "init")
_NOT_SHOWN_OF_DATA = ("data.root", "data.num_workers", "data.folds", "data.fold")
# Runs that differ in these alone are repetitions of one another.
_REPETITION = ("seed", "fold")
_BENCHMARK = "benchmark.json"
_LOWER_IS_BETTER = ("calibration_error",)


@dataclass(frozen=True)
class Collected:
    """Runs and rows of benchmarks, in plain values.

    Args:
        runs: A mapping for each run: `name`, `folder`, `link` (its report, relative to the page, or ""), `status`,
            `reason`, `started`, `minutes`, `epochs`, `group`, `settings` (name -> value), `metrics`
            (name -> [value, low, high]), `curves` (name -> [epochs, values]), `classes`
            (class -> [F1, low, high, support]) and `confusion` (rows are the truth; None for several labels).
        latencies: A mapping for each row of a benchmark that was measured on photographs: `name`, `ms` for one
            photograph, `metric` and its `value`.
        varying: Names of the settings that differ between runs, repetitions last.
        monitor: The monitored metric that most runs name, such as `qwk`.
        lower_is_better: Names of the metrics of which a low value is good.
        labels: What the metrics are called, by name.
        problems: What could not be read, a sentence each.
    """

    runs: list[dict[str, Any]]
    latencies: list[dict[str, Any]]
    varying: list[str]
    monitor: str
    lower_is_better: list[str]
    labels: dict[str, str]
    problems: list[str] = field(default_factory=list)


def collect(places: Sequence[str | Path], page_folder: Path) -> Collected:
    """Read all runs and benchmarks in and below some folders.

    Args:
        places: Run folders, or folders above them.
        page_folder: Where the page will lie; links are relative to it where they can be.

    Raises:
        UserError: If a folder does not exist, or none holds a run.
    """
    records: dict[Path, dict[str, Any]] = {}
    latencies: list[dict[str, Any]] = []
    problems: list[str] = []
    for place in map(Path, places):
        if not place.is_dir():
            what = "is no folder" if place.exists() else "does not exist"
            raise UserError(f"{place} {what}; retinai runs lists the run folders")
        records |= {Path(record["folder"]).resolve(): record for record in find_runs(place)}
        records = {**jobs_without_run(place, problems), **records}
        for file in find_files(place, (_BENCHMARK,)):
            latencies += _latencies(file, problems)
    if not records:
        raise UserError(
            f"{', '.join(map(str, places))}: no runs there ({RECORD} is nowhere); make one: python train.py"
        )
    labels = all_metric_labels()
    runs = [_run(record, folder, page_folder, labels, problems) for folder, record in records.items()]
    runs.sort(key=lambda run: str(run["started"]))
    _shorten_names(runs)
    varying = _varying([run["settings"] for run in runs if run["settings"]])
    for run in runs:
        known = [f"{key}={run['settings'].get(key, '-')}" for key in varying if key not in _REPETITION]
        run["group"] = " ".join(known) or "all runs"
        run["settings"] = {key: run["settings"].get(key) for key in varying}
    monitor, mode = _monitor(list(records.values()))
    lower = [*_LOWER_IS_BETTER, *([monitor] if mode == "min" else [])]
    return Collected(runs, latencies, varying, monitor, lower, labels, problems)


def _shorten_names(runs: Sequence[dict[str, Any]]) -> None:
    """Name each run by its folder alone where no other run's folder is called so."""
    last = pd.Series([run["name"].rpartition("/")[2] for run in runs], dtype=object)  # Arrow holds no lone surrogates
    for run, name, twice in zip(runs, last, last.duplicated(keep=False), strict=True):
        run["name"] = run["name"] if twice else name


def settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was asked for: the chosen options, the words of its command line, seed and fold.

    Args:
        record: Content of `run.json`.
    """
    choices = {k: v for k, v in (record.get("choices") or {}).items() if k not in _NOT_SHOWN and v != "None"}
    words = dict(str(word).lstrip("+").split("=", 1) for word in record.get("words") or [] if "=" in str(word))
    typed = {
        key: _value(text)
        for key, text in words.items()
        if key.split(".")[0] not in _NOT_SHOWN and key not in (*_NOT_SHOWN_OF_DATA, *_REPETITION)
    }
    repetition = {key: record[key] for key in _REPETITION if record.get(key) is not None}
    return {**choices, **typed, **repetition}


def _value(text: str) -> Any:
    bare = text.strip("'\"")
    try:
        number = float(bare)
    except ValueError:
        return bare
    if not math.isfinite(number):
        return bare
    return int(number) if number.is_integer() and "." not in bare and "e" not in bare.lower() else number


def _varying(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(key for one in settings for key in one))
    differing = [key for key in names if len({str(one.get(key)) for one in settings}) > 1]
    return sorted(differing, key=lambda key: key in _REPETITION)


def _monitor(records: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the monitored metric that most runs name, and whether it is good when high (`max`) or low (`min`)."""
    watched = [
        (str(r["monitor"]).removeprefix("val/"), str(r.get("mode") or "max")) for r in records if r.get("monitor")
    ]
    return Counter(watched).most_common(1)[0][0] if watched else ("qwk", "max")


def _run(
    record: dict[str, Any], folder: Path, page_folder: Path, labels: Mapping[str, str], problems: list[str]
) -> dict[str, Any]:
    seconds = record.get("seconds")
    run: dict[str, Any] = {
        "name": "/".join(folder.parts[-2:]),
        "folder": str(record["folder"]),
        "link": _link(folder, page_folder),
        "status": str(record.get("status") or "?"),
        "reason": str(record.get("reason") or record.get("error") or ""),
        "started": str(record.get("started") or ""),
        "minutes": None if seconds is None else round(float(seconds) / 60, 1),
        "epochs": record.get("epochs"),
        "settings": settings_of(record),
        "metrics": {},
        "curves": {},
        "classes": {},
        "confusion": None,
    }
    if run["status"] == DAMAGED:
        problems.append(f"{record['folder']}: {run['reason']}")
        return run
    for part in (_curves, lambda place: _results(place, labels)):
        try:
            run |= part(folder)
        except (UserError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            problems.append(f"{record['folder']}: {' '.join(str(error).split())}")
    return run


def _link(folder: Path, page_folder: Path) -> str:
    """Return where the run's report lies, seen from the page; a whole address where it is on another drive."""
    report = folder / "report.html"
    if not report.is_file():
        return ""
    try:
        return quote(os.fsencode(Path(os.path.relpath(report, page_folder.resolve())).as_posix()))
    except ValueError:  # another drive of Windows
        return report.as_uri()


def _curves(folder: Path) -> dict[str, Any]:
    """Return the losses and validation metrics by epoch; nothing before the first epoch has ended."""
    file = folder / "metrics.csv"
    if not file.exists() or file.stat().st_size == 0:
        return {}
    table = read_csv(file)
    if "epoch" not in table:
        raise UserError("metrics.csv is not readable: it has no column epoch")
    epochs = _numbers(table["epoch"])
    shown = [str(name) for name in table if str(name) == "train/loss" or str(name).startswith("val/")]
    # Plain values: to group each of hundreds of small tables in pandas takes four fifths of the whole command.
    known = {name: _by_epoch(epochs, _numbers(table[name])) for name in shown}
    return {"curves": {name: [list(curve), list(curve.values())] for name, curve in known.items() if curve}}


def _numbers(column: pd.Series) -> list[float]:
    return [float(value) for value in pd.to_numeric(column, errors="coerce")]


def _by_epoch(epochs: Sequence[float], values: Sequence[float]) -> dict[int, float | None]:
    """Return the last known value of each epoch, in order."""
    last = {int(e): _short(v) for e, v in zip(epochs, values, strict=True) if math.isfinite(e) and math.isfinite(v)}
    return dict(sorted(last.items()))


def _results(folder: Path, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the test's metrics with their intervals, F1 of each class, and the confusion matrix."""
    file = folder / "metrics.json"
    if not file.exists():
        return {}
    content = read_json(file)
    metrics = {key: content[key] for key in labels if key in content}
    if faults := metric_problems(metrics):
        raise UserError(f"metrics.json is not readable: {', '.join(faults[:3])}")
    classes = {
        str(name): [*_triple(row["f1"]), _number(row.get("support"))]
        for name, row in (content.get("per_class") or {}).items()
        if "f1" in row
    }
    return {
        "metrics": {key: _triple(metric) for key, metric in metrics.items()},
        "classes": classes,
        "confusion": _matrix(content.get("confusion_matrix")),
    }


def _matrix(rows: Any) -> list[list[Any]] | None:
    """Return a matrix of numbers; None for several, one for each label or part of a task, which are only checked."""
    if isinstance(rows, dict):
        for one in rows.values():
            _matrix(one)
        return None
    if rows is not None and not (isinstance(rows, list) and all(isinstance(row, list) for row in rows)):
        raise UserError("metrics.json is not readable: confusion_matrix is no matrix")
    return None if rows is None else [[_number(cell) for cell in row] for row in rows]


def _number(value: Any) -> Any:
    if not is_number(value):
        raise UserError(f"metrics.json is not readable: {str(value)[:40]} is no number")
    return value


def _triple(metric: Mapping[str, Any]) -> list[float | None]:
    return [_short(metric[part]) for part in ("value", "low", "high")]


def _short(value: Any) -> float | None:
    """Return a number of four significant digits, which is more than a screen shows."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def _latencies(file: Path, problems: list[str]) -> list[dict[str, Any]]:
    """Return the rows of a benchmark that were both timed and measured on photographs."""
    try:
        return [
            {"name": str(row["name"]), "ms": _short(row["network_ms"]["1"]["median"]), "value": _short(row["value"])}
            | {"metric": str(row["metric"])}
            for row in read_json(file)["rows"]
            if not row["reason"] and row.get("value") is not None
        ]
    except (UserError, KeyError, TypeError, AttributeError, OverflowError) as error:
        problems.append(f"{file}: {' '.join(str(error).split())}")
        return []
