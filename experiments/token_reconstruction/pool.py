"""The probes of all folds together, before and after pre-training, and their paired differences.

    python experiments/token_reconstruction/pool.py FOLDER FOLDER FOLDER [out=table.md]

FOLDER is what `run.sh` made of one fold, all of one start. Predictions of the folds are pooled; intervals are 95 %,
of 1000 resamples of patients, and a difference draws the same patients on both sides.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from retinai.files import read_json, write_text
from retinai.prediction.metrics import compute_metrics
from retinai.prediction.paired import paired_differences
from retinai.prediction.predictions import Predictions, concatenate
from retinai.reports.wording import with_interval
from retinai.tasks.task import Task

BEFORE = "before"
AFTER = ("tokens", "pixels")
# Target of a probe -> the metrics that are told of it.
METRICS = {
    "any_dr": ("auroc",),
    "referable": ("auroc",),
    "grade": ("auroc", "qwk"),
    "dme": ("auroc", "qwk"),
}


def read(folder: Path) -> Predictions:
    """Return the predictions of one probe."""
    metrics = read_json(folder / "metrics.json")
    table = pd.read_csv(folder / "predictions.csv", dtype={"id": str, "patient": str})
    return Predictions.from_frame(table, Task.from_dict(metrics["task"]), metrics["decision_rule"])


def lines_of(folds: list[Path]) -> list[str]:
    """Return the table: a row per target and metric."""
    heads = ["probe", "metric", "before", *(text for name in AFTER for text in (name, f"{name} - before"))]
    lines = [f"| {' | '.join(heads)} |", f"|---|---|{'---:|' * (len(heads) - 2)}"]
    for target, metrics in METRICS.items():
        pooled = {
            name: concatenate([read(fold / "probe" / target / name) for fold in folds]) for name in (BEFORE, *AFTER)
        }
        found = {name: compute_metrics(predictions) for name, predictions in pooled.items()}
        moved = {name: paired_differences(pooled[name], pooled[BEFORE]) for name in AFTER}
        for metric in metrics:
            cells = [target, metric, with_interval(found[BEFORE][metric])]
            for name in AFTER:
                cells += [with_interval(found[name][metric]), with_interval(moved[name][metric], signed=True)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def main(words: list[str]) -> None:
    """Print the table; write it too where `out=` says so."""
    folds = [Path(word) for word in words if "=" not in word]
    text = "\n".join(lines_of(folds)) + "\n"
    print(text)
    for word in words:
        if word.startswith("out="):
            write_text(Path(word.removeprefix("out=")), text)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
