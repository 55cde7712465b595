"""What a stress test is measured by: metrics per variant, changed decisions, retention, and groups of photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retinai.metrics.bootstrap import bootstrap_weights, interval
from retinai.metrics.decisions import decide
from retinai.stress.predicting import Stressed
from retinai.tasks.task import Task

_SMALLEST = 1e-12


def variant_rows(
    stressed: Stressed, targets: NDArray[np.int64], patients: Sequence[str], task: Task, rule: str, resamples: int
) -> list[dict[str, Any]]:
    """Return a row per variant: the task's main metric with its interval, and how far answers moved.

    Args:
        stressed: Probabilities of all variants, the photographs as they are first.
        targets: True classes, as the task holds them.
        patients: Whose the photographs are, N.
        task: Of the checkpoint.
        rule: How probabilities become decisions.
        resamples: Of the bootstrap.

    Returns:
        Rows with `kind`, `severity`, `n` and `refused` (no retina was found any more; the rest is of the others), the
        main metric as `value`, `low` and `high`, `changed` (share of decisions other than for the photograph as it
        is) and `divergence` (mean Kullback-Leibler divergence from its probabilities; in nats).
    """
    plain = stressed.probabilities[0]
    rows = []
    for variant, shown in zip(stressed.variants, stressed.probabilities, strict=True):
        graded = np.isfinite(shown).all(axis=1) & np.isfinite(plain).all(axis=1)
        row: dict[str, Any] = {"kind": variant.kind or "plain", "severity": variant.severity}
        row |= {"n": int(graded.sum()), "refused": int((~np.isfinite(shown).all(axis=1)).sum())}
        if graded.any():
            decisions, before = decide(shown[graded], rule), decide(plain[graded], rule)
            whose = [patients[int(i)] for i in np.flatnonzero(graded)]
            row |= _metric(task, targets[graded], decisions, shown[graded], whose, resamples)
            row["changed"] = float(np.mean((decisions != before).reshape(len(before), -1).any(axis=1)))
            row["divergence"] = float(_divergence(plain[graded], shown[graded], task).mean())
        rows.append(row)
    return rows


def retention(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return for each kind the mean of the metric over severities 0 to the worst, as a share of that at 0.

    The mean is the area under the line through the severities that were measured, divided by its length. Turns have no
    order of severity: theirs is the plain mean.

    Args:
        rows: Of `variant_rows`.
    """
    start = float(rows[0]["value"])
    found = {}
    for kind in dict.fromkeys(row["kind"] for row in rows[1:]):
        own = [row for row in rows if row["kind"] == kind and row.get("value") is not None]
        severities = np.array([0, *(row["severity"] for row in own)], dtype=np.float64)
        values = np.array([start, *(row["value"] for row in own)])
        if not own or not start > 0:
            continue
        mean = values.mean() if kind == "rotation" else np.trapezoid(values, severities) / severities[-1]
        found[kind] = float(mean / start)
    return found


def group_rows(
    groups: Mapping[str, Sequence[str]], probabilities: NDArray[np.float64], targets: NDArray[np.int64],
    patients: Sequence[str], task: Task, rule: str, resamples: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a row per group of photographs, and how likely a gap as large as theirs is by chance.

    Args:
        groups: Name of a grouping -> the group of each photograph, N; an empty one is left out.
        probabilities: Shape (N, C).
        targets: True classes, as the task holds them.
        patients: Whose the photographs are, N.
        task: Of the checkpoint.
        rule: How probabilities become decisions.
        resamples: Of the bootstrap, and permutations of the photographs among the groups.

    Returns:
        Rows with `grouping`, `group`, `n`, `value`, `low`, `high`, `worst` (of its grouping), and `gap` and `p`, the
        same in all rows of a grouping: best minus worst, and the share of permutations with a gap as large, the
        photographs at hand counted among them.
    """
    decisions = decide(probabilities, rule)
    rows = []
    for grouping, names in groups.items():
        labels = np.asarray(names, dtype=object)
        known = sorted(set(labels) - {""})
        if len(known) < 2:
            continue
        members = {name: np.flatnonzero(labels == name) for name in known}
        own = [
            {"grouping": grouping, "group": name, "n": len(places)}
            | _metric(task, targets[places], decisions[places], probabilities[places],
                      [patients[int(i)] for i in places], resamples)
            for name, places in members.items()
        ]  # fmt: skip
        measured = [row for row in own if row["value"] is not None]
        if len(measured) < 2:
            continue
        gap = max(row["value"] for row in measured) - min(row["value"] for row in measured)
        p = _chance(gap, labels, decisions, probabilities, targets, task, resamples)
        worst = min(measured, key=lambda row: row["value"])
        rows += [row | {"worst": row is worst, "gap": gap, "p": p} for row in own]
    return rows


def groupings(table: pd.DataFrame, stressed: Stressed) -> dict[str, list[str]]:
    """Return the groups that photographs fall into: eye, size of the file's picture, quality, and what the table adds.

    Quality: thirds of the score, from the best to the worst.

    Args:
        table: Rows of the label table.
        stressed: Of the same photographs.
    """
    scores = np.array([np.nan if quality is None else quality.score for quality in stressed.qualities])
    borders = np.nanquantile(scores, [1 / 3, 2 / 3]) if np.isfinite(scores).any() else np.zeros(2)
    thirds = np.array(["best third", "middle third", "worst third"], dtype=object)[np.digitize(scores, borders)]
    found = {
        "eye": table["eye"].fillna("").astype(str).tolist() if "eye" in table else [],
        "size": [f"{width} x {height}" for width, height in stressed.sizes],
        "quality": [third if np.isfinite(score) else "" for third, score in zip(thirds, scores, strict=True)],
    }
    return {name: values for name, values in found.items() if values}


def _metric(
    task: Task, targets: NDArray[Any], decisions: NDArray[Any], probabilities: NDArray[Any], patients: Sequence[str],
    resamples: int,
) -> dict[str, Any]:  # fmt: skip
    weights = bootstrap_weights(patients, resamples, seed=0)
    return dict(interval(task.metrics(targets, decisions, probabilities, weights)[task.main_metric]))


def _divergence(plain: NDArray[np.float64], shown: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    p, q = np.clip(plain, _SMALLEST, 1), np.clip(shown, _SMALLEST, 1)
    found = p * np.log(p / q)
    if task.distribution == "bernoulli":
        p, q = np.clip(1 - plain, _SMALLEST, 1), np.clip(1 - shown, _SMALLEST, 1)
        found = found + p * np.log(p / q)
    return found.sum(axis=1)


def _chance(
    gap: float, labels: NDArray[Any], decisions: NDArray[Any], probabilities: NDArray[Any], targets: NDArray[Any],
    task: Task, permutations: int,
) -> float:  # fmt: skip
    generator = np.random.default_rng(0)
    known = np.flatnonzero(labels != "")
    names = sorted(set(labels[known]))
    weights = []
    for _ in range(permutations):
        mixed = generator.permutation(labels[known])
        for name in names:
            weight = np.zeros(len(labels), dtype=np.float32)
            weight[known[mixed == name]] = 1
            weights.append(weight)
    if not weights:
        return float("nan")
    values = task.metrics(targets, decisions, probabilities, np.array(weights))[task.main_metric]
    spread = values.reshape(permutations, len(names))
    gaps = np.nanmax(spread, axis=1) - np.nanmin(spread, axis=1)
    return float((1 + (gaps >= gap - 1e-12).sum()) / (permutations + 1))
