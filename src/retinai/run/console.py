"""What a command prints: notes, the table before training, the table of test metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from retinai.log import logger, note

if TYPE_CHECKING:
    import lightning

    from retinai.data.datamodule import FundusDataModule
    from retinai.modules.base import BaseModule
    from retinai.reports.parts import ReportPart
    from retinai.tasks.task import Task


def print_notes(notes: Iterable[str]) -> None:
    """Tell what a user should know of the data and the start weights, a line each, once per run."""
    for sentence in notes:
        note(sentence)


def print_start(module: BaseModule, datamodule: FundusDataModule, trainer: lightning.Trainer, folder: Path) -> None:
    """Print what is about to train: data, parameters, effective batch and learning rate, class weights.

    Args:
        module: The module, not yet trained.
        datamodule: Its data, set up.
        trainer: The trainer that will run it.
        folder: The run folder.
    """
    from retinai.modules.description import describe_training

    if not trainer.is_global_zero:
        return
    counts = datamodule.table["split"].value_counts()
    batch = datamodule.batch_size * trainer.accumulate_grad_batches * trainer.world_size
    parts = f"{datamodule.batch_size} x {trainer.accumulate_grad_batches} accumulated x {trainer.world_size} device(s)"
    rows = [
        ("photographs", ", ".join(f"{split} {counts[split]}" for split in ("train", "val", "test") if split in counts)),
        *describe_training(module),
        ("effective batch", f"{batch} ({parts})"),
        ("epochs", f"{trainer.max_epochs}, precision {trainer.precision}, on {trainer.accelerator.__class__.__name__}"),
        ("run folder", str(folder)),
    ]
    table = Table(show_header=False, box=None, pad_edge=False, title="before training", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    Console(soft_wrap=False).print(table)


def print_evaluation(metrics: Mapping[str, Any], task: Task, parts: Iterable[ReportPart]) -> None:
    """Print the tables of the test split: metrics, calibration, what the kind of module adds.

    Args:
        metrics: Content of `metrics.json`.
        task: The task that the metrics are of.
        parts: Of `module.report_parts`.
    """
    print_metrics(metrics, task)
    print_calibration(metrics)
    print_parts(parts)


def print_metrics(metrics: Mapping[str, Any], task: Task, split: str = "test") -> None:
    """Print the metrics with their 95 % intervals and the table of classes, where there are some.

    Args:
        metrics: Content of `metrics.json`.
        task: The task that the metrics are of.
        split: Name of the split, for the title.
    """
    console = Console()
    title = f"{split} split, {metrics['n']} photographs, 95 % intervals"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for header, justify in (("metric", "left"), ("value", "right"), ("interval", "right")):
        table.add_column(header, justify=justify)  # type: ignore[arg-type]
    for key, label in task.metric_labels.items():
        if key in metrics and key not in task.report_only:
            table.add_row(label, _number(metrics[key]["value"]), _interval(metrics[key]))
    console.print(table)
    if not metrics["per_class"]:
        return
    classes = Table(title="per class", title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    for header in ("class", "precision", "recall", "F1", "support"):
        classes.add_column(header, justify="left" if header == "class" else "right")
    for name in task.classes:
        row = metrics["per_class"][name]
        cells = [_cell(row[k]) for k in ("precision", "recall", "f1")]
        classes.add_row(name, *cells, str(row["support"]))
    console.print(classes)


def print_calibration(metrics: Mapping[str, Any]) -> None:
    """Print temperature and operating points, before and after; nothing without a calibration.

    Args:
        metrics: Content of `metrics.json`.
    """
    results = metrics.get("calibration")
    if results is None:
        return
    before, after = (_number(results["calibration_error"][when]["value"]) for when in ("before", "after"))
    logger.info(f"temperature {results['temperature']:.2f}: calibration error {before} before, {after} after")
    if sets := results.get("sets"):
        coverage, size = (_number(sets[key]["value"]) for key in ("coverage", "mean_size"))
        logger.info(f"sets of grades: promised {sets['level']:.2f}, coverage {coverage}, {size} grades each on average")
    if not results["operating_points"]:
        return
    chosen = (
        "held-out training photographs" if results.get("pooled", {}).get("networks", 1) > 1 else "the validation split"
    )
    table = Table(title=f"referral, thresholds of {chosen}", title_justify="left", box=box.SIMPLE_HEAD)
    for header in ("operating point", "threshold", "sensitivity", "specificity"):
        table.add_column(header, justify="left" if header == "operating point" else "right")
    for name, point in results["operating_points"].items():
        table.add_row(name, _number(point["threshold"]), _cell(point["sensitivity"]), _cell(point["specificity"]))
    Console().print(table)


def print_parts(parts: Iterable[ReportPart]) -> None:
    """Print what a module adds to an evaluation: its sentences, then its tables."""
    for part in parts:
        for line in part.lines:
            logger.info(line)
        for title, content in part.tables.items():
            table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
            for number, header in enumerate(content.headers):
                table.add_column(header, justify="right" if number and content.numbers else "left")
            for row in content.rows:
                table.add_row(*row)
            Console().print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cell(metric: Mapping[str, float | None]) -> str:
    """Return value and interval short enough for three such columns on a terminal of 80."""
    if metric["value"] is None:
        return "-"
    interval = "" if metric["low"] is None else f" ({metric['low']:.2f}-{metric['high']:.2f})"
    return f"{metric['value']:.2f}{interval}"


def _interval(metric: Mapping[str, float | None]) -> str:
    return "-" if metric["low"] is None else f"{metric['low']:.3f} to {metric['high']:.3f}"
