"""What an evaluation tells of patients beside photographs (`retinai evaluate level=patient`)."""

from __future__ import annotations

from typing import Any

from retinai.prediction.metrics import compute_metrics
from retinai.prediction.patients import agreement_of_eyes, by_patient
from retinai.prediction.predictions import Predictions
from retinai.reports.parts import ReportPart


def patients_part(predictions: Predictions, pooling: str, resamples: int = 1000) -> tuple[ReportPart, Predictions]:
    """Return the part of an evaluation about patients, and their predictions.

    Args:
        predictions: Of labelled photographs.
        pooling: Of `prediction.patients.POOLINGS`.
        resamples: Bootstrap resamples of patients.
    """
    pooled = by_patient(predictions, pooling)
    metrics: dict[str, Any] = compute_metrics(pooled, resamples=resamples)
    share, pairs = agreement_of_eyes(predictions)
    metrics |= {"pooling": pooling, "eyes_alike": share, "patients_with_two_eyes": pairs}
    shown = [(name, _interval(metrics[name])) for name in _shown(metrics)]
    lines = [f"per patient (n = {len(pooled)}, {pooling} of the eyes): {', '.join(f'{n} {v}' for n, v in shown)}"]
    if share is not None:
        lines.append(f"both eyes of {pairs} patients: decided alike in {share:.0%}")
    return ReportPart("per_patient", metrics, lines=lines), pooled


def _shown(metrics: dict[str, Any]) -> list[str]:
    wanted = ("odir_final", "macro_f1", "kappa", "auroc", "accuracy", "mae", "r2")
    return [name for name in wanted if isinstance(metrics.get(name), dict) and metrics[name].get("value") is not None]


def _interval(metric: dict[str, float]) -> str:
    low, high = metric.get("low"), metric.get("high")
    spread = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{metric['value']:.3f}{spread}"
