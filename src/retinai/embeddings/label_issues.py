"""Labels that embeddings contradict: confident learning on probabilities of probes that did not see the photograph.

Written after the paper: the library of its authors, cleanlab, is under the AGPL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from retinai.embeddings.estimators import ProbeSettings, fit_classifier
from retinai.embeddings.files import Embeddings
from retinai.embeddings.probe import Job
from retinai.tasks.task import Task

FOLDS = 5


@dataclass(frozen=True)
class Suspicion:
    """A label that the probabilities of its photograph contradict.

    Args:
        row: The photograph.
        suggested: The class that is confidently likelier.
        confidence: Probability of the given label, 0 to 1.
        margin: That minus the probability of the likeliest other class; lowest first.
    """

    row: int
    suggested: int
    confidence: float
    margin: float


def held_out_probabilities(
    features: NDArray[np.float32],
    targets: NDArray[np.int64],
    patients: Sequence[str],
    classes: int,
    settings: ProbeSettings,
) -> NDArray[np.float64]:
    """Return for each photograph the probabilities of a probe that was fitted without its patient, shape (N, classes).

    Args:
        features: Shape (N, K).
        targets: Classes, shape (N,).
        patients: Whose photograph each is, N.
        classes: Number of classes.
        settings: How probes are fitted.
    """
    groups = np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1]
    folds = StratifiedGroupKFold(min(FOLDS, len(np.unique(groups))), shuffle=True, random_state=settings.seed)
    found = np.zeros((len(targets), classes))
    for training, test in folds.split(features, targets, groups):
        known = [patients[row] for row in training]
        if len(np.unique(targets[training])) < 2:
            found[test, targets[training[0]]] = 1.0
            continue
        fitted = fit_classifier(features[training], targets[training], known, settings)
        found[test] = fitted.probabilities(features[test], classes)
    return found


def find_suspicious(targets: NDArray[np.int64], probabilities: NDArray[np.float64]) -> list[Suspicion]:
    """Return the labels that are contradicted with confidence, the most suspicious first.

    A class is confident for a photograph whose probability of it is at least the mean over the photographs with that
    label. Where the likeliest confident class is not the label, the label is suspicious.

    Args:
        targets: Labels, shape (N,).
        probabilities: Of probes that did not see the photographs, shape (N, C).

    Source: Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, 2021,
    equation 1, ranked by their normalised margin.
    """
    count = probabilities.shape[1]
    labelled = [probabilities[targets == c, c] for c in range(count)]
    thresholds = np.array([own.mean() if len(own) else np.inf for own in labelled])
    found = []
    for row, (label, likely) in enumerate(zip(targets, probabilities, strict=True)):
        confident = np.where(likely >= thresholds, likely, -1.0)
        suggested = int(confident.argmax())
        if confident[suggested] < 0 or suggested == label:
            continue
        margin = float(likely[label] - np.delete(likely, label).max())
        found.append(Suspicion(row, suggested, float(likely[label]), margin))
    return sorted(found, key=lambda suspicion: suspicion.margin)


def label_issues(job: Job, file: Embeddings, settings: ProbeSettings) -> pd.DataFrame:
    """Return the suspicious labels of a target, of the training and the test part together.

    Args:
        job: Target and parts; of a task whose targets are classes.
        file: Embeddings of the photographs.
        settings: How probes are fitted.
    """
    task, parts = job.target.task, (job.training, job.test)
    features = np.concatenate([part.features(file) for part in parts])
    targets = np.concatenate([part.targets for part in parts])
    ids, paths, patients = ([*getattr(job.training, n), *getattr(job.test, n)] for n in ("ids", "paths", "patients"))
    probabilities = held_out_probabilities(features, targets, patients, task.num_classes, settings)
    return suspicion_table(find_suspicious(targets, probabilities), ids, paths, targets, task)


def suspicion_table(
    found: Sequence[Suspicion], ids: Sequence[str], paths: Sequence[str], targets: NDArray[np.int64], task: Task
) -> pd.DataFrame:
    """Return the content of `label_issues.csv`: `id`, `path`, `label`, `suggested`, `confidence`, `margin`."""
    return pd.DataFrame(
        {
            "id": [ids[s.row] for s in found],
            "path": [paths[s.row] for s in found],
            "label": [task.classes[int(targets[s.row])] for s in found],
            "suggested": [task.classes[s.suggested] for s in found],
            "confidence": [round(s.confidence, 4) for s in found],
            "margin": [round(s.margin, 4) for s in found],
        }
    )
