"""What the folders of runs say of themselves: `run.json`, one or all below a folder, damaged ones too."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from retinai.errors import UserError
from retinai.files import read_json, told
from retinai.log import note

RECORD = "run.json"
DAMAGED = "damaged"
_TEXTS = ("status", "started", "data", "model", "backbone", "monitor")
_NUMBERS = ("seconds", "best_score", "resumed", "epochs", "seed", "fold", "folds")
# Far above any figure of a run, and small enough to be calculated with.
_LARGEST = 1e15


def read_record(folder: str | Path) -> dict[str, Any]:
    """Return `run.json` of a run folder, checked: texts are texts, numbers numbers, metrics metrics.

    Raises:
        UserError: If it is missing or cannot be used; says why.
    """
    path = Path(folder) / RECORD
    if not is_there(path):
        raise UserError(f"{folder} is no run folder ({RECORD} is missing)")
    record = read_json(path)
    problems = [f"{key} is no text" for key in _TEXTS if not isinstance(record.get(key) or "", str)]
    problems += [f"{key} is no number" for key in _NUMBERS if not is_number(record.get(key))]
    problems += [] if isinstance(record.get("choices") or {}, dict) else ["choices is no object"]
    problems += [] if isinstance(record.get("words") or [], list) else ["words is no list"]
    metrics = record.get("metrics")
    if metrics is not None:
        problems += ["metrics is no object"] if not isinstance(metrics, dict) else metric_problems(metrics)
    if problems:
        raise UserError(f"{path} is not readable: {', '.join(problems[:3])}")
    return record


def metric_problems(metrics: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with metrics that should be `value`, `low` and `high` each.

    Args:
        metrics: Metrics by name; `calibration` is passed over.
    """
    return [
        f"{name} is no metric with value, low and high"
        for name, metric in metrics.items()
        if name != "calibration"
        and not (
            isinstance(metric, dict)
            and {"value", "low", "high"} <= set(metric)
            and all(is_number(metric[part]) for part in ("value", "low", "high"))
        )
    ]


def is_number(value: Any) -> bool:
    """Return whether a value of a JSON file is None or a finite number that can be calculated with."""
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def is_there(path: Path) -> bool:
    """Return whether a name is taken, by a link that leads nowhere too: that is damage and not absence."""
    return path.exists() or path.is_symlink()


def find_runs(root: str | Path) -> list[dict[str, Any]]:
    """Return the records of all runs below a folder, newest first, each with its `folder`.

    A run whose record cannot be read has the status `damaged` and its `reason`, and counts as begun when the file
    was written. Folders that cannot be searched are told in a note.

    Args:
        root: Folder that is searched, such as `outputs`.

    Raises:
        UserError: If it is no folder, or does not exist.
    """
    root = Path(root)
    if not root.is_dir():
        what = "is no folder" if is_there(root) else "does not exist"
        raise UserError(
            f"root={root} {what}; name the folder below which runs are looked for (root=, or paths.outputs=)"
        )
    runs = [_read_or_say_why(path) for path in find_files(root, [RECORD])]
    return sorted(runs, key=lambda run: str(run.get("started") or ""), reverse=True)


def find_files(root: Path, names: Collection[str]) -> Iterator[Path]:
    """Yield whatever has one of some names below a folder; a folder that cannot be searched is told in a note.

    Args:
        root: The folder; links to folders are not followed.
        names: Names of files.
    """

    def tell(error: OSError) -> None:
        note(f"the folder {error.filename} cannot be searched ({told(error)}): runs in it are left out")

    for folder, folders, files in os.walk(root, onerror=tell):
        yield from (Path(folder, name) for name in names if name in folders or name in files)


def _read_or_say_why(path: Path) -> dict[str, Any]:
    try:
        return {**read_record(path.parent), "folder": str(path.parent)}
    except UserError as error:
        written = datetime.fromtimestamp(path.lstat().st_mtime).astimezone().isoformat(timespec="seconds")
        reason = str(error).removeprefix(str(path)).removeprefix(":").strip()
        return {"folder": str(path.parent), "status": DAMAGED, "started": written, "reason": f"{RECORD} {reason}"}
