"""Folders of runs as trainings leave them, written without a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLASSES = ("no_dr", "mild", "moderate", "severe", "proliferative")


def write_run(folder: Path, *, qwk: float | None = 0.5, words: tuple[str, ...] = (), **record: Any) -> Path:
    """Write a run folder; without `qwk` it has not been tested yet."""
    folder.mkdir(parents=True)
    choices = {
        "backbone": "resnet18",
        "loss": "cross_entropy",
        "phase": "finetune",
        "prompt": "None",
        "logger": "wandb",
    }
    choices |= {word.split("=")[0]: word.split("=")[1] for word in words if word.split("=")[0] in choices}
    content = {
        "status": "finished", "started": "2026-01-31T12:00:00+00:00", "words": list(words), "choices": choices,
        "monitor": "val/qwk", "seed": 0, "fold": None, "epochs": 2, "seconds": 90.0, **record,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(content))
    (folder / "metrics.csv").write_text("epoch,train/loss,val/loss,val/qwk\n0,1.5,1.4,0.1\n1,1.2,1.3,0.45678\n")
    if qwk is not None:
        (folder / "metrics.json").write_text(json.dumps(_metrics(qwk)))
        (folder / "report.html").write_text("<h1>report</h1>")
    return folder


def _metrics(qwk: float) -> dict[str, Any]:
    metric = {"value": qwk, "low": qwk - 0.1, "high": qwk + 0.1}
    return {
        "qwk": metric,
        "accuracy": metric,
        "per_class": {name: {"f1": metric, "support": 3} for name in CLASSES},
        "confusion_matrix": [[3 if row == column else 0 for column in range(5)] for row in range(5)],
        "n": 15,
    }
