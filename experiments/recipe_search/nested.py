"""Compare what searches chose with the hand-made composition, on photographs that no choice has seen.

python experiments/recipe_search/nested.py STUDY STUDY ... against HAND_MADE_RUN HAND_MADE_RUN ...

One study and one run of the hand-made composition per fold, in the order of the folds. A study chooses its trial by the
best validation value; trial and hand-made run are then measured on the fold's held-out photographs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, cohen_kappa_score

from retinai.errors import UserError
from retinai.metrics.bootstrap import Interval, bootstrap_weights, interval
from retinai.prediction.predictions import Predictions
from retinai.reports.wording import with_interval
from retinai.run.finished import load_runs
from retinai.sweeps.record import read_sweep
from retinai.sweeps.space import words_of
from retinai.sweeps.study import open_study

RESAMPLES = 1000


@dataclass(frozen=True)
class Trial:
    """A trial of a study.

    Attributes:
        number: Its number.
        words: What was drawn for it.
        score: Best validation value; None of one that failed or was stopped early.
        folder: Its run folder.
    """

    number: int
    words: str
    score: float | None
    folder: Path


def trials_of(study: Path) -> list[Trial]:
    """Return the trials of a study.

    Args:
        study: Its folder.
    """
    folders = {job.number: study / job.folder for job in read_sweep(study).jobs}
    found = open_study(study, load=True).trials
    return [
        Trial(
            t.number, " ".join(words_of(t.params)), t.value if t.state.name == "COMPLETE" else None, folders[t.number]
        )
        for t in found
    ]


def chosen(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the best validation value.

    Raises:
        UserError: If none has one.
    """
    known = [trial for trial in trials if trial.score is not None]
    if not known:
        raise UserError("a study has no trial with a result")
    return max(known, key=lambda trial: trial.score or 0.0)


def held_out(folders: Sequence[Path]) -> list[Predictions]:
    """Return the predictions of each run on its held-out photographs.

    Raises:
        UserError: If a run is not finished.
    """
    runs, damaged = load_runs([str(folder) for folder in folders])
    if damaged:
        raise UserError("; ".join(f"{run.folder}: {run.reason}" for run in damaged))
    return [run.predictions for run in runs]


def kappa(truth: NDArray[np.int64], grades: NDArray[np.int64], weights: NDArray[np.float64] | None = None) -> float:
    """Return the quadratic weighted kappa of grades, shape (N,), with a weight for each photograph."""
    return float(cohen_kappa_score(truth, grades, weights="quadratic", labels=range(5), sample_weight=weights))


def compare(ours: Sequence[Predictions], hand_made: Sequence[Predictions]) -> tuple[pd.DataFrame, dict[str, Interval]]:
    """Return kappa and accuracy by fold and pooled, and the paired differences of the pooled photographs.

    Losses decide differently, so decisions are pooled, not probabilities.

    Args:
        ours: Of the chosen trials, by fold.
        hand_made: Of the hand-made composition, by fold.

    Raises:
        UserError: If the photographs of a fold are not the same.
    """
    truth, grades, patients = list[NDArray](), {"searched": list[NDArray](), "hand-made": list[NDArray]()}, list[str]()
    rows = []
    for fold, (one, other) in enumerate(zip(ours, hand_made, strict=True)):
        order = {name: place for place, name in enumerate(other.ids)}
        if set(order) != set(one.ids) or one.targets is None:
            raise UserError(f"fold {fold}: search and hand-made run were measured on different photographs")
        places = [order[name] for name in one.ids]
        truth.append(np.asarray(one.targets))
        patients += list(one.patients)
        grades["searched"].append(np.asarray(one.decisions))
        grades["hand-made"].append(np.asarray(other.decisions)[places])
        rows.append({"fold": str(fold), **_measured(truth[-1], {name: g[-1] for name, g in grades.items()})})
    all_truth, pooled = np.concatenate(truth), {name: np.concatenate(g) for name, g in grades.items()}
    rows.append({"fold": "pooled", **_measured(all_truth, pooled)})
    draws = [None, *bootstrap_weights(patients, RESAMPLES, 0)[1:]]
    differences = {
        "QWK": [kappa(all_truth, pooled["searched"], w) - kappa(all_truth, pooled["hand-made"], w) for w in draws],
        "accuracy": [
            accuracy_score(all_truth, pooled["searched"], sample_weight=w)
            - accuracy_score(all_truth, pooled["hand-made"], sample_weight=w)
            for w in draws
        ],
    }
    return pd.DataFrame(rows), {name: interval(np.array(values)) for name, values in differences.items()}


def _measured(truth: NDArray[np.int64], grades: dict[str, NDArray[np.int64]]) -> dict[str, float]:
    return {
        f"{metric} {name}": round(float(of(truth, own)), 3)
        for metric, of in (("QWK", kappa), ("accuracy", accuracy_score))
        for name, own in grades.items()
    }


def main(words: Sequence[str]) -> None:
    """Print which trial each study chose, the comparison, and the settings with the best mean over the folds."""
    split = list(words).index("against")
    studies, hand_made = [Path(word) for word in words[:split]], [Path(word) for word in words[split + 1 :]]
    trials = [trials_of(study) for study in studies]
    best = [chosen(of_study) for of_study in trials]
    for fold, trial in enumerate(best):
        print(f"fold {fold}: trial {trial.number}, validation {trial.score:.3f}, {trial.words}")
    table, differences = compare(held_out([trial.folder for trial in best]), held_out(hand_made))
    print(table.to_string(index=False))
    for name, difference in differences.items():
        print(f"{name}, searched minus hand-made: {with_interval(difference, 3, signed=True)}")
    scores = pd.DataFrame([{"words": t.words, "validation": t.score} for of_study in trials for t in of_study])
    means = scores.groupby("words")["validation"].agg(["mean", "count"]).sort_values("mean", ascending=False)
    print(means.to_string())


if __name__ == "__main__":
    if "against" not in sys.argv[2:-1]:
        sys.exit(__doc__)
    main(sys.argv[1:])
