"""What an evaluation leaves in its folder: predictions, metrics, figures and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retinai.data.preprocessing import Preprocessing
from retinai.files import write_csv, write_json, write_text
from retinai.metrics.compute import compute_metrics
from retinai.metrics.predictions import Predictions
from retinai.reports import figures as draw
from retinai.reports.contact_sheet import Mistake, contact_sheet, worst_mistakes
from retinai.reports.html import report_page
from retinai.reports.learning_curves import learning_curves_figure
from retinai.reports.style import save_figure


def write_evaluation(
    folder: str | Path,
    predictions: Predictions,
    *,
    title: str,
    details: dict[str, Any],
    metrics_csv: str | Path | None = None,
    preprocessing: Preprocessing | None = None,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Write predictions.csv, metrics.json, figures/*.png and report.html into a folder.

    Args:
        folder: The run folder; made if it is missing. Its `config.yaml`, if there, goes into the report.
        predictions: Predictions of labelled photographs.
        title: Heading of the report.
        details: What the report tells of the run: data, model, versions, seed; `notes` on the data.
        metrics_csv: Table of the training epochs for the learning curves, if there is one.
        preprocessing: How the model sees a photograph, for the sheet of mistakes; None crops to the
            field of view.
        resamples: Bootstrap resamples.

    Returns:
        The metrics, content of metrics.json.

    Raises:
        DataError: If the photographs have no labels.
    """
    folder = Path(folder)
    metrics = compute_metrics(predictions, resamples=resamples)
    write_csv(folder / "predictions.csv", predictions.to_frame())
    mistakes = worst_mistakes(predictions, preprocessing)
    shown = write_figures(folder / "figures", predictions, mistakes, metrics_csv)
    config = folder / "config.yaml"
    page = report_page(
        metrics,
        title=title,
        details=details,
        figures=shown,
        mistakes=mistakes,
        config=config.read_text(encoding="utf-8") if config.exists() else "",
    )
    write_text(folder / "report.html", page)
    # Last, so that a folder with metrics.json is a whole one.
    write_json(folder / "metrics.json", metrics)
    return metrics


def write_figures(
    folder: Path, predictions: Predictions, mistakes: list[Mistake], metrics_csv: str | Path | None
) -> list[tuple[str, Path]]:
    """Write the figures as PNG.

    Args:
        folder: Where to; made if it is missing.
        predictions: With targets.
        mistakes: What the contact sheet shows; none, no sheet.
        metrics_csv: Table of the training epochs, if there is one.

    Returns:
        Caption and file of each figure that belongs on the report's page, in order. The contact sheet
        is not among them: the page shows the photographs themselves.
    """
    plan = [
        ("Confusion matrix", "confusion_matrix", draw.confusion_figure(predictions)),
        ("ROC curves, one class against the rest", "roc", draw.roc_figure(predictions)),
        ("Precision-recall curves, one class against the rest", "pr", draw.precision_recall_figure(predictions)),
        ("Reliability: is it right as often as it says?", "reliability", draw.reliability_figure(predictions)),
    ]
    curves = learning_curves_figure(metrics_csv, predictions.task.monitor) if metrics_csv else None
    if curves is not None:
        plan.append(("Learning curves", "learning_curves", curves))
    shown = [(caption, save_figure(figure, folder / f"{name}.png")) for caption, name, figure in plan]
    sheet = contact_sheet(mistakes)
    if sheet is not None:
        save_figure(sheet, folder / "worst_mistakes.png")
    return shown
