"""Metrics in words: labels, numbers with intervals, and the sentences at the top of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retinai.tasks.parts import Sentence
from retinai.tasks.task import Task

_RANKING_AND_TRUST = (
    Sentence("auroc", "AUROC, one class against the rest, mean of the classes: {}."),
    Sentence("calibration_error", "Stated probabilities are off by {} on average (calibration error)."),
)


def labelled_metrics(metrics: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return label and value of the metrics that are there, in the order in which people ask for them."""
    labels = Task.from_dict(metrics["task"]).metric_labels
    return [(labels[key], metrics[key]) for key in labels if key in metrics]


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
    said = []
    own = Task.from_dict(metrics["task"]).sentences
    said_by_task = {sentence.metric for sentence in own}
    for sentence in (*own, *(s for s in _RANKING_AND_TRUST if s.metric not in said_by_task)):
        if sentence.needed or _known(metrics, sentence.metric):
            metric = metrics[sentence.metric]
            shown = _per_hundred(metric) if sentence.per_hundred else with_interval(metric, 2)
            said.append(sentence.text.format(shown))
    return [*said, *_weakest(metrics)]


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
