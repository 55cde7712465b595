"""How far a photograph lies from those that a network was trained on, by the features that it grades from.

The distance is that of Mahalanobis, with a covariance that is shrunk as in probabilistic principal component analysis:
the leading components keep their own variance, and all others share one. It is told in units of a limit that a stated
share of validation photographs exceeds, so that above 1 a photograph lies outside what the network saw.

Source: Lee, Lee, Lee & Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018, for
    the distance, here of all classes together; Tipping & Bishop, "Probabilistic Principal Component Analysis", Journal
    of the Royal Statistical Society B 61, 1999, for the covariance; Vovk, Gammerman & Shafer, "Algorithmic Learning in
    a Random World", 2005, for the limit.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.config.record_schemas import OutsideRecord, check_record

# Name of the column, of the graph's output, and of the part of a report.
DISTANCE = "distance"
# Key in a checkpoint and in model.json.
OUTSIDE = "outside"
FALSE_ALARMS = 0.05
COMPONENTS = 32
# Fewer training photographs would describe themselves.
MINIMUM = 20
_KEPT = 1000


@dataclass(frozen=True, eq=False)
class Limit:
    """From where on a distance lies outside.

    Args:
        limit: Distance that a share of `false_alarms` of validation photographs exceeds, > 0.
        false_alarms: That share, promised for photographs like those of validation.
        n: Training photographs.
        validated: Distances of validation photographs in units of the limit, rising, at most 1000 of them.
    """

    limit: float
    false_alarms: float
    n: int
    validated: NDArray[np.float64]

    def facts(self) -> dict[str, Any]:
        """Return what an exported folder says of it."""
        return {"false_alarms": self.false_alarms, "n": self.n, "validation": len(self.validated)}


@dataclass(frozen=True, eq=False)
class KnownFeatures:
    """What a network's features of training photographs are like.

    Args:
        mean: Shape (F,).
        components: Leading directions, orthonormal, shape (K, F).
        variances: Along them, shape (K,).
        noise: Variance along any other direction, > 0.
        limit: Distance that a share of `false_alarms` of validation photographs exceeds, > 0.
        false_alarms: That share, promised for photographs like those of validation.
        n: Training photographs.
        validated: Distances of validation photographs in units of the limit, rising, at most 1000 of them.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variances: NDArray[np.float32]
    noise: float
    limit: float
    false_alarms: float
    n: int
    validated: NDArray[np.float64]

    def distances(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return the distance of each photograph in units of the limit, shape (N,), from features (N, F)."""
        centred = np.asarray(features, dtype=np.float64) - self.mean
        along = centred @ self.components.T.astype(np.float64)
        rest = centred - along @ self.components
        squared = (along**2 / self.variances).sum(axis=1) + (rest**2).sum(axis=1) / self.noise
        return np.sqrt(squared) / self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint; the arrays of features as base64 of float32."""
        values = np.concatenate([self.mean[None], self.components]).astype("<f4")
        return {
            **self.facts(),
            "width": len(self.mean),
            "features": base64.b64encode(values.tobytes()).decode("ascii"),
            "variances": self.variances.tolist(),
            "noise": self.noise,
            "limit": self.limit,
            "validated": self.validated.tolist(),
        }

    def facts(self) -> dict[str, Any]:
        """Return what an exported folder says of it, whose graph holds the rest."""
        return Limit(self.limit, self.false_alarms, self.n, self.validated).facts()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KnownFeatures:
        """Rebuild it from `to_dict`.

        Raises:
            ValueError: Says what is wrong with the values.
        """
        record = check_record(OutsideRecord, values)
        try:
            rows = np.frombuffer(base64.b64decode(record.features, validate=True), dtype="<f4")
        except (binascii.Error, ValueError) as error:
            raise ValueError("features are no base64 of float32") from error
        if len(rows) != (len(record.variances) + 1) * record.width or not np.isfinite(rows).all():
            raise ValueError("features are of another shape than width and variances say, or no finite numbers")
        rows = rows.reshape(-1, record.width).astype(np.float32)
        return cls(
            rows[0], rows[1:], np.array(record.variances, dtype=np.float32), record.noise, record.limit,
            record.false_alarms, record.n, np.array(record.validated),
        )  # fmt: skip


def fit_outside(
    trained: NDArray[Any], validated: NDArray[Any], false_alarms: float = FALSE_ALARMS
) -> tuple[KnownFeatures | None, list[str]]:
    """Describe features of training photographs, and choose the limit on validation photographs.

    The limit is the ceil((n + 1) * (1 - false_alarms))-th smallest of the n validation distances, so that a photograph
    that could as well be one of them exceeds it with a probability of `false_alarms` at most.

    Args:
        trained: Features of training photographs, as they are graded, shape (N, F).
        validated: Of photographs that the network was not trained on, shape (n, F).
        false_alarms: In (0, 1).

    Returns:
        What is kept, None where there is too little; and a sentence where nothing could be chosen.
    """
    from sklearn.decomposition import PCA

    needed = needed_for(false_alarms)
    if len(trained) < MINIMUM or len(validated) < needed:
        return None, [
            f"no limit of what lies outside the training: that takes {MINIMUM} training and {needed} validation "
            f"photographs, and there are {len(trained)} and {len(validated)}"
        ]
    count = min(COMPONENTS, len(trained) // 4, trained.shape[1] - 1)
    # Many photographs are described by their covariance, which takes seconds where all of them would take minutes.
    solver = "covariance_eigh" if len(trained) > 4 * trained.shape[1] else "full"
    found = PCA(count, svd_solver=solver).fit(np.asarray(trained, dtype=np.float64))
    noise, variances = float(found.noise_variance_), found.explained_variance_
    if not noise > 1e-12 * float(variances[0]) or not float(variances[-1]) > 0:
        return None, ["no limit of what lies outside the training: the network gives all photographs the same features"]
    known = KnownFeatures(
        found.mean_.astype(np.float32), found.components_.astype(np.float32), variances.astype(np.float32), noise, 1.0,
        false_alarms, len(trained), np.empty(0),
    )  # fmt: skip
    chosen = choose_limit(known.distances(validated), false_alarms, len(trained))
    assert chosen is not None  # there are as many as it needs
    return replace(known, limit=chosen.limit, validated=chosen.validated), []


def needed_for(false_alarms: float) -> int:
    """Return how many photographs a limit takes."""
    return math.ceil(1 / false_alarms) - 1


def choose_limit(distances: NDArray[np.float64], false_alarms: float, n: int) -> Limit | None:
    """Choose the limit on photographs that were not trained on; None where there are too few.

    Args:
        distances: Theirs, shape (n,).
        false_alarms: Share of such photographs that may lie beyond, in (0, 1).
        n: Training photographs.
    """
    if len(distances) < needed_for(false_alarms):
        return None
    rising = np.sort(distances)
    limit = float(rising[math.ceil((len(rising) + 1) * (1 - false_alarms) - 1e-12) - 1])
    kept = rising[np.linspace(0, len(rising) - 1, min(_KEPT, len(rising))).round().astype(int)]
    return Limit(limit, false_alarms, n, kept / limit)
