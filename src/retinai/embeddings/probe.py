"""Probes of several targets on several files of embeddings: fitted on the training part, measured on the test part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retinai.embeddings.estimators import Fitted, ProbeSettings, fit_classifier, fit_number
from retinai.embeddings.few_shots import draw_patients
from retinai.embeddings.files import Embeddings
from retinai.embeddings.labelled import Part
from retinai.embeddings.targets import Target
from retinai.prediction.metrics import compute_metrics, measure
from retinai.prediction.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Job:
    """A target with its parts.

    Args:
        target: What is asked.
        training: The part that probes are fitted on.
        test: The part that they are measured on.
    """

    target: Target
    training: Part
    test: Part

    @property
    def score(self) -> str:
        """The metric that files are compared by."""
        return "auroc" if self.target.task.has_probabilities else "r2"


@dataclass(frozen=True, eq=False)
class Outcome:
    """One probe.

    Args:
        job: Target and parts.
        embeddings: Name of the file.
        fitted: The probe.
        predicted: Class probabilities (N, C) of the test part, or numbers (N,).
        few_shots: Rows of the probes of smaller training parts: percent, draw, patients, photographs, score.
    """

    job: Job
    embeddings: str
    fitted: Fitted
    predicted: NDArray[np.float64]
    few_shots: list[dict[str, Any]] = field(default_factory=list)

    def predictions(self) -> Predictions:
        """Return class probabilities, or numbers, as predictions of the test part."""
        target, test = self.job.target, self.job.test
        given = self.predicted.reshape(len(test.ids), target.task.num_classes)
        rule = target.task.decision_rules[0]
        return Predictions(target.task, test.ids, test.paths, test.patients, test.targets, given, rule)

    def table(self) -> pd.DataFrame:
        """Return the content of predictions.csv."""
        return self.predictions().to_frame()

    def metrics(self, resamples: int, seed: int) -> dict[str, Any]:
        """Return the content of metrics.json."""
        return compute_metrics(self.predictions(), resamples, seed)

    def scores(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the score under each row of weights, shape (R,)."""
        found: NDArray[np.float64] = measure(self.predictions(), weights)[self.job.score]
        return found


@dataclass(frozen=True)
class Shots:
    """Smaller training parts to try.

    Args:
        percents: Of the training patients.
        draws: Random choices for each, but for 100 percent.
    """

    percents: Sequence[float] = ()
    draws: int = 10


def run_probes(
    jobs: Sequence[Job], files: Sequence[Embeddings], settings: ProbeSettings, shots: Shots, progress: bool = True
) -> list[Outcome]:
    """Fit and measure a probe for each target and file, and those of the smaller training parts.

    Args:
        jobs: Targets with their parts.
        files: Embeddings, checked to be of the photographs.
        settings: How probes are fitted.
        shots: Smaller training parts; of targets that are classes only.
        progress: Whether to show a bar on a terminal.
    """
    drawn = {job.target.name: _draws(job, shots, settings.seed) for job in jobs}
    total = len(files) * sum(1 + len(draws) for draws in drawn.values())
    outcomes = []
    with _bar(total, progress) as advance:
        for job in jobs:
            for file in files:
                training, test = job.training.features(file), job.test.features(file)
                fitted, predicted = _fit(job, np.arange(len(training)), training, test, settings)
                advance()
                rows = []
                for percent, number, chosen in drawn[job.target.name]:
                    row = _few_shots_row(job, chosen, training, test, settings)
                    rows.append({"percent": percent, "draw": number, **row})
                    advance()
                outcomes.append(Outcome(job, file.name, fitted, predicted, rows))
    return outcomes


def _draws(job: Job, shots: Shots, seed: int) -> list[tuple[float, int, NDArray[np.int64]]]:
    if not job.target.task.has_probabilities:
        return []
    return [
        (percent, number, rows)
        for percent in shots.percents
        for number, rows in enumerate(
            draw_patients(job.training.targets, job.training.patients, percent, shots.draws, seed)
        )
    ]


def _fit(
    job: Job,
    rows: NDArray[np.int64],
    training: NDArray[np.float32],
    test: NDArray[np.float32],
    settings: ProbeSettings,
) -> tuple[Fitted, NDArray[np.float64]]:
    part = job.training.take(rows)
    if not job.target.task.has_probabilities:
        fitted = fit_number(training[rows], part.targets, part.patients, settings)
        return fitted, np.asarray(fitted.model.predict(test), dtype=np.float64)
    fitted = fit_classifier(training[rows], part.targets, part.patients, settings)
    return fitted, fitted.probabilities(test, job.target.task.num_classes)


def _few_shots_row(
    job: Job,
    rows: NDArray[np.int64],
    training: NDArray[np.float32],
    test: NDArray[np.float32],
    settings: ProbeSettings,
) -> Mapping[str, Any]:
    fitted, predicted = _fit(job, rows, training, test, settings)
    whole = np.ones((1, len(job.test.ids)), dtype=np.float32)
    score = float(Outcome(job, "", fitted, predicted).scores(whole)[0])
    patients = len({job.training.patients[row] for row in rows})
    return {"patients": patients, "photographs": len(rows), "score": None if np.isnan(score) else score}


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as progress:
        bar = progress.add_task("fitting probes", total=total)
        yield lambda: progress.advance(bar)
