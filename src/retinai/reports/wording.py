"""Metrics in words: labels, numbers with intervals, and the sentences at the top of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Metrics in the order in which people ask for them; what a task lacks is left out.
METRIC_LABELS: dict[str, str] = {
    "qwk": "quadratic weighted kappa",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "auroc": "AUROC (one against the rest, macro)",
    "auprc": "AUPRC (one against the rest, macro)",
    "referable_sensitivity": "sensitivity, referable DR",
    "referable_specificity": "specificity, referable DR",
    "calibration_error": "calibration error",
    "odir_kappa": "ODIR kappa",
    "odir_f1": "ODIR F1",
    "odir_auc": "ODIR AUC",
    "odir_final": "ODIR final score",
}
LABELS: dict[str, str] = {
    **METRIC_LABELS,
    "referable_auroc": "AUROC, referable DR",
    "micro_f1": "micro F1",
}


def labelled_metrics(metrics: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return label and value of the metrics that are there, in the order in which people ask for them."""
    return [(LABELS[key], metrics[key]) for key in LABELS if key in metrics]


def with_interval(metric: Mapping[str, float | None], digits: int = 3, signed: bool = False) -> str:
    """Return `0.712 (0.650 to 0.771)`, with signs where it is a difference; `-` where undefined."""
    form = f"{'+' if signed else ''}.{digits}f"
    if metric["value"] is None:
        return "-"
    text = format(metric["value"], form)
    if metric["low"] is None or metric["high"] is None:
        return text
    return f"{text} ({metric['low']:{form}} to {metric['high']:{form}})"


def headline_sentences(metrics: Mapping[str, Any]) -> list[str]:
    """Return what a reader should know first, one sentence per point.

    Args:
        metrics: Content of `metrics.json`.
    """
    graded = metrics["task"]["kind"] == "grade"
    return (_grade_sentences if graded else _label_sentences)(metrics)


def _grade_sentences(metrics: Mapping[str, Any]) -> list[str]:
    said = [f"Agreement with the graders (quadratic weighted kappa, 1 is perfect): {with_interval(metrics['qwk'], 2)}."]
    said.append(f"Of 100 photographs, {_per_hundred(metrics['accuracy'])} get exactly the right grade.")
    if _known(metrics, "referable_sensitivity"):
        found = _per_hundred(metrics["referable_sensitivity"])
        said.append(f"Of 100 photographs with referable retinopathy, it refers {found}.")
    if _known(metrics, "referable_specificity"):
        spared = _per_hundred(metrics["referable_specificity"])
        said.append(f"Of 100 photographs without, it rightly leaves {spared} unreferred.")
    said += _ranking_and_trust(metrics)
    weak = _weakest(metrics)
    return [*said, *weak]


def _label_sentences(metrics: Mapping[str, Any]) -> list[str]:
    said = [f"Macro F1 over the labels: {with_interval(metrics['macro_f1'], 2)}."]
    said.append(f"Of 100 photographs, {_per_hundred(metrics['accuracy'])} get every label right.")
    said.append(f"ODIR's official score (mean of kappa, F1 and AUC): {with_interval(metrics['odir_final'], 2)}.")
    return [*said, *_ranking_and_trust(metrics), *_weakest(metrics)]


def _ranking_and_trust(metrics: Mapping[str, Any]) -> list[str]:
    said = []
    if _known(metrics, "auroc"):
        said.append(f"AUROC, one class against the rest, mean of the classes: {with_interval(metrics['auroc'], 2)}.")
    if _known(metrics, "calibration_error"):
        error = metrics["calibration_error"]
        said.append(f"Stated probabilities are off by {with_interval(error, 2)} on average (calibration error).")
    return said


def _weakest(metrics: Mapping[str, Any]) -> list[str]:
    """Name the class that is found least often."""
    recalls = {n: row["recall"] for n, row in metrics["per_class"].items() if row["recall"]["value"] is not None}
    if not recalls:
        return []
    name = min(recalls, key=lambda key: recalls[key]["value"])
    found, support = _per_hundred(recalls[name]), metrics["per_class"][name]["support"]
    shown = name.replace("_", " ")
    return [f"Weakest class: {shown}, of which it finds {found} in 100 ({support} photographs here)."]


def _per_hundred(metric: Mapping[str, float | None]) -> str:
    percent = {key: None if value is None else 100 * value for key, value in metric.items()}
    return with_interval(percent, 0)


def _known(metrics: Mapping[str, Any], key: str) -> bool:
    return key in metrics and metrics[key]["value"] is not None
