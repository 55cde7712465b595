"""Runs and evaluations read from their folders for a comparison; what is damaged is told, not raised."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from retinai.errors import UserError
from retinai.files import read_csv, read_json, read_yaml
from retinai.metrics.decisions import RULES
from retinai.prediction.predictions import Predictions
from retinai.reports.compare import DamagedRun, Run
from retinai.run.run_records import RECORD, find_files, is_there, metric_problems, read_record
from retinai.tasks.task import Task, all_metric_labels

# What may differ between the runs of one group.
# A teacher of another fold is another file; what it is (`run.json`) takes part in its place.
_FREE = ("seed", "run_dir", "resume", "debug", "paths", "logger", "callbacks", "hydra", "test", "teacher", "sweep",
         "study", "max_jobs")  # fmt: skip
_FREE_DATA = ("fold", "root", "num_workers", "split_file")
_RECORDS = (RECORD, "evaluation.json")


def load_runs(places: Sequence[str]) -> tuple[list[Run], list[DamagedRun]]:
    """Read runs from their folders, or from all folders below one that is no run itself.

    Returns:
        The runs in the order given, and those that are not finished or damaged.

    Raises:
        UserError: If a folder is missing or holds no run with results, or no run can be used.
    """
    runs: dict[Path, Run] = {}
    damaged: dict[Path, DamagedRun] = {}
    for folder in [folder for place in map(Path, places) for folder in _run_folders(place)]:
        try:
            runs[folder.resolve()] = _load(folder)
        except (UserError, KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            said = str(error) if isinstance(error, UserError) else f"its files hold values of another kind ({error})"
            reason = " ".join(said.replace(f"{folder}/", "").split())
            damaged[folder.resolve()] = DamagedRun(folder, reason)
    if not runs:
        said = "; ".join(f"{run.folder}: {run.reason}" for run in damaged.values())
        raise UserError(f"none of the runs can be compared: {said}")
    return list(runs.values()), list(damaged.values())


def _run_folders(place: Path) -> list[Path]:
    if not place.is_dir():
        what = "is no folder" if place.exists() else "does not exist"
        raise UserError(f"{place} {what}; retinai runs lists the run folders")
    if any(is_there(place / name) for name in _RECORDS):
        return [place]
    folders = sorted({path.parent for path in find_files(place, _RECORDS)}, key=_by_numbers)
    folders = [folder for folder in folders if (folder / "metrics.json").exists()]
    if not folders:
        raise UserError(f"{place} holds no run with results (run.json and metrics.json)")
    return folders


def _by_numbers(folder: Path) -> list[tuple[bool, int, str]]:
    """Return a sorting key that puts job 2 of a multirun before job 10."""
    parts = re.split(r"(\d+)", str(folder))
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _load(folder: Path) -> Run:
    """Read a run.

    Raises:
        UserError: If it has not finished, or a file is missing or damaged; says which and why.
    """
    record = read_record(folder) if is_there(folder / RECORD) else read_json(folder / _RECORDS[1])
    if not is_there(folder / "metrics.json"):
        raise UserError(_why_untested(folder, record))
    metrics = read_json(folder / "metrics.json")
    labels = all_metric_labels()
    problems = metric_problems({key: metrics[key] for key in labels if key in metrics})
    problems += [] if type(metrics.get("n")) is int and metrics["n"] > 0 else ["n is no whole number above 0"]
    problems += [] if str(metrics.get("decision_rule")) in RULES else ["the decision rule is unknown"]
    if problems:
        raise UserError(f"metrics.json is not readable: {', '.join(problems[:3])}")
    return Run(folder, record, metrics, _read_predictions(folder, metrics), _group_key(folder, record, metrics))


def _why_untested(folder: Path, record: dict[str, Any]) -> str:
    """Return why a run has no `metrics.json`, and what can be done."""
    if not is_there(folder / RECORD):
        return "metrics.json is missing; evaluate again, or leave it out"
    status = record.get("status") or "its status is not known"
    if status != "finished":
        return f"no metrics.json: the run has not finished ({status}); leave it out, or resume it"
    if record.get("metrics"):
        return "metrics.json is missing, though the run was tested; leave it out, or measure it with retinai evaluate"
    model = record.get("model") or "its model"
    return (
        f"no metrics.json: the run has finished without test predictions (by test=false, or {model} makes none, such "
        "as a pre-training or a generator); leave it out, or measure a grader's checkpoint with retinai evaluate"
    )


def _read_predictions(folder: Path, metrics: dict[str, Any]) -> Predictions:
    try:
        task = Task.from_dict(metrics["task"])
    except (KeyError, TypeError, UserError) as error:
        raise UserError(f"metrics.json is not readable: its task is none ({error})") from error
    table = read_csv(folder / "predictions.csv")
    try:
        predictions = Predictions.from_frame(table, task, metrics["decision_rule"])
    except (ValueError, UserError) as error:
        raise UserError(f"predictions.csv is not readable: {error}") from error
    if len(predictions) != metrics["n"]:
        raise UserError(f"predictions.csv holds {len(predictions)} photographs, metrics.json {metrics['n']}")
    if predictions.targets is None:
        raise UserError("predictions.csv is not readable: it holds no targets")
    if table["id"].duplicated().any():
        raise UserError("predictions.csv is not readable: an id stands there twice")
    outside = (predictions.probabilities < 0) | (predictions.probabilities > 1)
    if task.has_probabilities and outside.any():
        raise UserError("predictions.csv is not readable: it holds probabilities that are not from 0 to 1")
    if fault := task.probability_fault(predictions.probabilities):
        raise UserError(f"predictions.csv is not readable: {fault}")
    return predictions


def _group_key(folder: Path, record: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Return a text that is the same for runs that differ only in fold or seed."""
    config = folder / "config.yaml"
    if not is_there(config):  # an evaluation stands alone
        return str(folder.resolve())
    try:
        content = yaml.safe_load(read_yaml(config)) or {}
        content = {key: value for key, value in content.items() if key not in _FREE}
        content["data"] = {key: value for key, value in (content.get("data") or {}).items() if key not in _FREE_DATA}
    except (yaml.YAMLError, OSError, ValueError, RecursionError, AttributeError) as error:
        raise UserError(f"config.yaml is not readable: {error}") from error
    content["taught_by"] = record.get("teacher")
    content["measured_as"] = [metrics["task"], metrics["decision_rule"]]
    return json.dumps(content, sort_keys=True, default=str)
