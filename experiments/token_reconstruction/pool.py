"""Pools the probes of several folds: AUROC of each target before and after, and the paired difference.

python experiments/token_reconstruction/pool.py PROBE_FOLDER PROBE_FOLDER ... (of retinai probe, one per fold, each with
two files of embeddings: the first is before, the second after)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from retinai.metrics.bootstrap import bootstrap_weights, interval
from retinai.prediction.metrics import measure
from retinai.prediction.predictions import Predictions, concatenate
from retinai.reports.wording import with_interval
from retinai.tasks.task import Task


def read(folder: Path) -> Predictions:
    """Return the predictions of one probe."""
    task = Task.from_dict(json.loads((folder / "metrics.json").read_text())["task"])
    table = pd.read_csv(folder / "predictions.csv", dtype={"id": str, "patient": str})
    return Predictions.from_frame(table, task, "argmax")


def main() -> None:
    """Print a row for each target."""
    folders = [Path(word) for word in sys.argv[1:]]
    first = json.loads((folders[0] / "probe.json").read_text())["scores"]
    print("| target | photographs | before | after | difference |\n|---|---:|---:|---:|---:|")
    for target, by_file in first.items():
        draws = []
        for position in range(len(by_file)):
            parts = [read(folder / target / sorted((folder / target).iterdir())[position].name) for folder in folders]
            whole = concatenate(parts)
            weights = bootstrap_weights(whole.patients, 2000, seed=0)
            draws.append(measure(whole, weights)["auroc"])
        after, before = (np.asarray(d) for d in draws)  # "after" comes before "before" by the alphabet
        cells = [with_interval(interval(d)) for d in (before, after)]
        cells.append(with_interval(interval(after - before), signed=True))
        print(f"| {target} | {len(whole)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
