"""Probes: small models of scikit-learn on standardised embeddings, their one setting chosen by inner folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from retinai.embeddings.smote import Oversampled

INNER_FOLDS = 5
MAX_ITERATIONS = 20_000
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
PENALTIES = tuple(float(10.0**power) for power in range(-1, 7))
NEIGHBOURS = (1, 3, 5, 10, 20)


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is fitted.

    Args:
        method: `linear` (logistic regression, of numbers ridge regression) or `knn` (nearest neighbours by cosine).
        smote: Whether rare classes are filled up by SMOTE, in each training part by itself.
        seed: Seed of the inner folds and of SMOTE.
    """

    method: str = "linear"
    smote: bool = False
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted probe.

    Args:
        model: Scaler and estimator.
        setting: Name of the setting that was chosen, such as `C`.
        value: Its value.
        folds: Inner folds that chose it; 0 where the patients were too few, and the default was taken.
    """

    model: Pipeline
    setting: str
    value: float
    folds: int

    def probabilities(self, features: NDArray[Any], classes: int) -> NDArray[np.float64]:
        """Return class probabilities, shape (N, classes); 0 for a class that it was not fitted on."""
        found = np.zeros((len(features), classes))
        found[:, self.model[-1].classes_] = self.model.predict_proba(features)
        return found


def fit_classifier(
    features: NDArray[np.float32], targets: NDArray[np.int64], patients: Sequence[str], settings: ProbeSettings
) -> Fitted:
    """Fit a probe of classes: StandardScaler, then logistic regression or nearest neighbours.

    The strength C, or the number of neighbours, is the one with the best Brier score over inner folds that keep
    patients together and shares of classes alike.

    Args:
        features: Shape (N, K).
        targets: Classes, shape (N,), two or more of them.
        patients: Whose photograph each is, N.
        settings: Method and seed.
    """
    groups = np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1]
    rarest = min(len(np.unique(groups[targets == label])) for label in np.unique(targets))
    folds = min(INNER_FOLDS, rarest)
    if settings.method == "knn":
        estimator: Any = KNeighborsClassifier(weights="distance", metric="cosine")
        setting, values = "n_neighbors", _neighbours(len(targets), folds)
        default = values[-1]
    else:
        setting, values, default = "C", list(STRENGTHS), 1.0
        estimator = LogisticRegression(max_iter=MAX_ITERATIONS)
    name = f"estimator__{setting}" if settings.smote else setting
    model = make_pipeline(StandardScaler(), Oversampled(estimator, settings.seed) if settings.smote else estimator)
    key = f"{model.steps[-1][0]}__{name}"
    if folds < 2:
        whole = model.set_params(**{key: default}).fit(features, targets)
        return Fitted(whole, setting, default, 0)
    inner = StratifiedGroupKFold(folds, shuffle=True, random_state=settings.seed)
    search = _search(model, key, values, inner, _brier)
    search.fit(features, targets, groups=groups)
    return Fitted(search.best_estimator_, setting, float(search.best_params_[key]), folds)


def fit_number(
    features: NDArray[np.float32], targets: NDArray[np.float64], patients: Sequence[str], settings: ProbeSettings
) -> Fitted:
    """Fit a probe of a number: StandardScaler, then ridge regression, or the mean of nearest neighbours.

    The penalty is the one with the smallest squared error over inner folds that keep patients together.

    Args:
        features: Shape (N, K).
        targets: Numbers, shape (N,).
        patients: Whose photograph each is, N.
        settings: Method.
    """
    groups = np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1]
    folds = min(INNER_FOLDS, len(np.unique(groups)))
    if settings.method == "knn":
        estimator: Any = KNeighborsRegressor(weights="distance", metric="cosine")
        setting, values = "n_neighbors", _neighbours(len(targets), folds)
    else:
        setting, estimator, values = "alpha", Ridge(), list(PENALTIES)
    model = make_pipeline(StandardScaler(), estimator)
    key = f"{model.steps[-1][0]}__{setting}"
    search = _search(model, key, values, GroupKFold(folds), "neg_mean_squared_error")
    search.fit(features, targets, groups=groups)
    return Fitted(search.best_estimator_, setting, float(search.best_params_[key]), folds)


def _neighbours(count: int, folds: int) -> list[Any]:
    """Return the numbers of neighbours that the training part of every inner fold has."""
    smallest = count - -(-count // max(folds, 2)) - 1
    return [k for k in NEIGHBOURS if k <= max(smallest, 1)]


def _search(model: Pipeline, key: str, values: list[Any], inner: Any, scoring: Any) -> GridSearchCV:
    return GridSearchCV(model, {key: values}, cv=inner, scoring=scoring, error_score="raise")


def _brier(model: Any, features: NDArray[Any], targets: NDArray[np.int64]) -> float:
    """Return the negative Brier score; higher is better.

    Unlike the log loss it is finite where nearest neighbours are all of one class, or a fold lacked a class.
    """
    known = list(model.classes_)
    truth = np.stack([targets == label for label in known], axis=1)
    missed = ~truth.any(axis=1)
    return -float(((truth - model.predict_proba(features)) ** 2).sum(axis=1).mean() + missed.mean())
