"""SMOTE in feature space: rare classes are filled up with points between neighbours of one class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 5


def oversample(
    features: NDArray[Any], targets: NDArray[np.int64], neighbours: int = NEIGHBOURS, seed: int = 0
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return features and targets in which every class has as many rows as the largest.

    A new row lies at a random place on the line from a row of its class to one of the nearest neighbours in that
    class. A class of one row has no neighbour and is repeated.

    Args:
        features: Shape (N, K), on one scale.
        targets: Classes, shape (N,).
        neighbours: Nearest neighbours k to choose from; fewer where the class is smaller.
        seed: Seed of the choice.

    Returns:
        The rows as they were, then the new ones, class by class.

    Source: Chawla et al., "SMOTE: Synthetic Minority Over-sampling Technique", J. Artif. Intell. Res. 16, 2002.
    """
    classes, counts = np.unique(targets, return_counts=True)
    random = np.random.RandomState(seed)
    new_features, new_targets = [features], [targets]
    for label, count in zip(classes, counts, strict=True):
        wanted = int(counts.max() - count)
        if not wanted:
            continue
        own = features[targets == label]
        k = min(neighbours, len(own) - 1)
        if k:
            near = NearestNeighbors(n_neighbors=k + 1).fit(own).kneighbors(own, return_distance=False)[:, 1:]
            chosen = random.randint(0, near.size, wanted)
            step = random.uniform(size=wanted)[:, None]
            start = own[chosen // k]
            new = start + step * (own[near[chosen // k, chosen % k]] - start)
        else:
            new = np.repeat(own, wanted, axis=0)
        new_features.append(new.astype(features.dtype))
        new_targets.append(np.full(wanted, label, dtype=targets.dtype))
    return np.concatenate(new_features), np.concatenate(new_targets)


class Oversampled(ClassifierMixin, BaseEstimator):
    """A classifier that is fitted on classes filled up by SMOTE, and predicts what it is given.

    So rows are made of the training part alone, in each fold of a cross-validation too.

    Args:
        estimator: A classifier of scikit-learn.
        seed: Seed of the new rows.
    """

    def __init__(self, estimator: Any, seed: int = 0) -> None:
        self.estimator = estimator
        self.seed = seed

    def fit(self, X: NDArray[Any], y: NDArray[np.int64]) -> Oversampled:  # noqa: N803 (names of scikit-learn)
        """Fit the classifier on the rows and the new ones."""
        self.fitted_ = clone(self.estimator).fit(*oversample(X, y, seed=self.seed))
        self.classes_ = self.fitted_.classes_
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[np.int64]:  # noqa: N803
        """Return the classifier's decisions."""
        decided: NDArray[np.int64] = self.fitted_.predict(X)
        return decided

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:  # noqa: N803
        """Return the classifier's probabilities."""
        probabilities: NDArray[np.float64] = self.fitted_.predict_proba(X)
        return probabilities
