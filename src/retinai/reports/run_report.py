"""What an evaluation leaves in its folder: predictions, metrics, figures and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.files import read_text, write_csv, write_json, write_text
from retinai.prediction.calibration.fitting import calibration_results
from retinai.prediction.metrics import compute_metrics
from retinai.prediction.predictions import Predictions
from retinai.reports import figures as draw
from retinai.reports.calibration import calibration_section
from retinai.reports.contact_sheet import Mistake, contact_sheet, worst_mistakes
from retinai.reports.html import report_page
from retinai.reports.learning_curves import learning_curves_figure
from retinai.reports.number_figures import agreement_figure, scatter_figure
from retinai.reports.parts import ReportPart
from retinai.reports.sections import ReportSection
from retinai.reports.style import save_figure

Draw = Callable[[Predictions, Predictions | None], Figure]
# Name in `Task.figures`, which is that of the file too -> caption, and what draws the figure of predictions and of the
# same ones before they were calibrated.
FIGURES: dict[str, tuple[str, Draw]] = {
    "confusion_matrix": ("Confusion matrix", lambda now, _: draw.confusion_figure(now)),
    "roc": ("ROC curves, one class against the rest", lambda now, _: draw.roc_figure(now)),
    "pr": ("Precision-recall curves, one class against the rest", lambda now, _: draw.precision_recall_figure(now)),
    "reliability": (
        "Reliability: is it right as often as it says?",
        lambda now, before: draw.reliability_figure(now, before=before),
    ),
    "agreement": ("Agreement with the truth (Bland-Altman)", lambda now, _: agreement_figure(now)),
    "scatter": ("Predicted against true", lambda now, _: scatter_figure(now)),
}


def write_evaluation(
    folder: str | Path,
    predictions: Predictions,
    *,
    title: str,
    details: dict[str, Any],
    metrics_csv: str | Path | None = None,
    preprocessing: Preprocessing | None = None,
    resamples: int = 1000,
    calibration: Mapping[str, Any] | None = None,
    parts: Sequence[ReportPart] = (),
) -> dict[str, Any]:
    """Write predictions.csv, metrics.json, figures/*.png and report.html into a folder.

    Args:
        folder: The run folder; made if it is missing. Its `config.yaml`, if there, goes into the report.
        predictions: Predictions of labelled photographs, as the network gives them.
        title: Heading of the report.
        details: What the report tells of the run: data, model, versions, seed; `notes` on the data.
        metrics_csv: Table of the training epochs for the learning curves, if there is one.
        preprocessing: How the model sees a photograph, for the sheet of mistakes; None crops to the
            field of view.
        resamples: Bootstrap resamples.
        calibration: `module.calibration`; with it everything is measured and shown on the scaled
            probabilities, and a section tells what they were before.
        parts: What the module adds (`module.report_parts`): metrics, and sections of the report, in order.

    Returns:
        The metrics, content of metrics.json.

    Raises:
        DataError: If the photographs have no labels.
    """
    folder = Path(folder)
    before, predictions = predictions, predictions.calibrated(calibration)
    metrics = compute_metrics(predictions, resamples=resamples)
    sections: list[ReportSection] = []
    if calibration is not None:
        metrics["calibration"] = calibration_results(before, calibration, resamples)
        sections.append(_calibration_section(metrics))
    for part in parts:
        metrics[part.name] = dict(part.metrics)
        sections += part.sections
    write_csv(folder / "predictions.csv", predictions.to_frame())
    mistakes = worst_mistakes(predictions, preprocessing)
    unscaled = None if calibration is None else before
    shown = write_figures(folder / "figures", predictions, mistakes, metrics_csv, unscaled)
    config = folder / "config.yaml"
    page = report_page(
        metrics,
        title=title,
        details=details,
        figures=shown,
        mistakes=mistakes,
        config=read_text(config) if config.exists() else "",
        sections=sections,
    )
    write_text(folder / "report.html", page)
    # Last, so that a folder with metrics.json is a whole one.
    write_json(folder / "metrics.json", metrics)
    return metrics


def _calibration_section(metrics: Mapping[str, Any]) -> ReportSection:
    border, classes = metrics["task"]["referable_from"], metrics["task"]["classes"]
    name = None if border is None else draw.readable(classes[border])
    return calibration_section(metrics["calibration"], name)


def write_figures(
    folder: Path,
    predictions: Predictions,
    mistakes: list[Mistake],
    metrics_csv: str | Path | None,
    before: Predictions | None = None,
) -> list[tuple[str, Path]]:
    """Write the figures as PNG.

    Args:
        folder: Where to; made if it is missing.
        predictions: With targets.
        mistakes: What the contact sheet shows; none, no sheet.
        metrics_csv: Table of the training epochs, if there is one.
        before: The same predictions before they were calibrated, if they were.

    Returns:
        Caption and file of each figure that belongs on the report's page, in order. The contact sheet
        is not among them: the page shows the photographs themselves.
    """
    task = predictions.task
    plan = [(FIGURES[name][0], name, FIGURES[name][1](predictions, before)) for name in task.figures]
    curves = learning_curves_figure(metrics_csv, task.monitor, task.mode) if metrics_csv else None
    if curves is not None:
        plan.append(("Learning curves", "learning_curves", curves))
    shown = [(caption, save_figure(figure, folder / f"{name}.png")) for caption, name, figure in plan]
    sheet = contact_sheet(mistakes)
    if sheet is not None:
        save_figure(sheet, folder / "worst_mistakes.png")
    return shown
