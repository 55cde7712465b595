"""What an evaluation leaves in its folder: predictions, metrics, figures and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retinai.data.preprocessing import Preprocessing
from retinai.files import write_csv, write_json
from retinai.metrics.compute import compute_metrics
from retinai.metrics.predictions import Predictions


def write_evaluation(
    folder: str | Path,
    predictions: Predictions,
    *,
    title: str,
    details: dict[str, Any],
    metrics_csv: str | Path | None = None,
    preprocessing: Preprocessing | None = None,
) -> dict[str, Any]:
    """Write predictions.csv, metrics.json, figures/*.png and report.html into a folder.

    Args:
        folder: The run folder; made if it is missing.
        predictions: Predictions of labelled photographs.
        title: Heading of the report.
        details: What the report tells of the run: data, model, versions, seed, notes.
        metrics_csv: Table of the training epochs for the learning curves, if there is one.
        preprocessing: How the model sees a photograph, for the sheet of mistakes; None shows them as they are.

    Returns:
        The metrics, content of metrics.json.
    """
    folder = Path(folder)
    write_csv(folder / "predictions.csv", predictions.to_frame())
    metrics = compute_metrics(predictions)
    write_json(folder / "metrics.json", metrics)
    return metrics
