"""One report over the held-out predictions of all folds.

python experiments/idrid_baseline/pool.py OUT RUN RUN RUN ...
"""

from __future__ import annotations

import sys

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.modules.load import load_module
from retinai.prediction.predictions import concatenate
from retinai.reports.run_report import write_evaluation
from retinai.run.console import print_metrics
from retinai.run.finished import load_runs


def main(out: str, folders: list[str]) -> None:
    """Write the report of the pooled predictions and print its metrics.

    Args:
        out: Folder to write.
        folders: Run folders, one per fold.
    """
    runs, damaged = load_runs(folders)
    if damaged:
        sys.exit("; ".join(f"{run.folder}: {run.reason}" for run in damaged))
    predictions = concatenate([run.predictions for run in runs])
    preprocessing: Preprocessing = load_module(f"{folders[0]}/checkpoints/best.ckpt").preprocessing
    title = f"IDRiD, {len(runs)} folds pooled"
    metrics = write_evaluation(out, predictions, title=title, details={"folds": len(runs)}, preprocessing=preprocessing)
    print_metrics(metrics, predictions.task, "held-out")
    print(f"report: {out}/report.html")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
