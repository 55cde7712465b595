"""Embeddings compared over many targets: paired bootstrap, Holm, wins, ties and losses, and average ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """The score of one file of embeddings minus that of another, on one target.

    Args:
        target: What was asked.
        first: Name of the one.
        second: Name of the other.
        value: Score of `first` minus score of `second`.
        low: 2.5 % of the differences of the resamples.
        high: 97.5 %.
        p: Two-sided p-value.
        adjusted: The same after Holm, over all differences of the comparison.
    """

    target: str
    first: str
    second: str
    value: float
    low: float
    high: float
    p: float
    adjusted: float = 1.0

    @property
    def result(self) -> str:
        """`win`, `loss` (of `first`) or `tie`, after Holm."""
        if self.adjusted >= LEVEL:
            return "tie"
        return "win" if self.value > 0 else "loss"


def paired_differences(scores: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> list[Difference]:
    """Return the difference of every pair of files on every target, adjusted by Holm over all of them.

    The p-value is that of a normal distribution with the standard error of the resamples: with shares of resamples
    the smallest p-value would be 2 / R, which no correction over a hundred targets lets through.

    Args:
        scores: Target -> file -> the score (higher is better) of the data and of R resamples of patients, shape
            (R + 1,), NaN where undefined; of one target all are under the same resamples.

    Returns:
        In the order of the targets; a difference that is undefined on the data or on most resamples is left out.
    """
    found: list[Difference] = []
    for target, by_file in scores.items():
        for first, second in combinations(by_file, 2):
            values = by_file[first] - by_file[second]
            draws = values[1:][np.isfinite(values[1:])]
            if not np.isfinite(values[0]) or len(draws) < max(2, len(values) / 2):
                continue
            error = float(draws.std(ddof=1))
            p = 2 * float(stats.norm.sf(abs(values[0]) / error)) if error > 0 else float(values[0] == 0)
            low, high = np.percentile(draws, [2.5, 97.5])
            found.append(Difference(target, first, second, float(values[0]), float(low), float(high), p))
    adjusted = holm([difference.p for difference in found])
    return [Difference(**{**vars(d), "adjusted": p}) for d, p in zip(found, adjusted, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that with probability 95 % none below 0.05 is a false one.

    Args:
        p_values: Of M tests.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted.tolist()


def count_results(differences: Sequence[Difference], names: Sequence[str]) -> dict[tuple[str, str], dict[str, int]]:
    """Return wins, ties and losses of the first against the second file of each ordered pair."""
    mirrored = {"win": "loss", "loss": "win", "tie": "tie"}
    counts = {(a, b): dict.fromkeys(("win", "tie", "loss"), 0) for a in names for b in names if a != b}
    for difference in differences:
        counts[difference.first, difference.second][difference.result] += 1
        counts[difference.second, difference.first][mirrored[difference.result]] += 1
    return counts


@dataclass(frozen=True)
class Ranks:
    """Average ranks over targets.

    Args:
        ranks: File -> average rank, 1 is best; of equal scores each has the mean of the ranks.
        critical_difference: Two average ranks that differ by less are not told apart at 5 % (Nemenyi).
        targets: Number of targets.
        p: Friedman's test that all files are alike; None for two files or one target.
    """

    ranks: Mapping[str, float]
    critical_difference: float
    targets: int
    p: float | None


def average_ranks(values: Mapping[str, Mapping[str, float]]) -> Ranks | None:
    """Return average ranks and their critical difference; None where fewer than two targets have all scores.

    Args:
        values: Target -> file -> score, higher is better, NaN where undefined.

    Source: Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006.
    """
    names = list(next(iter(values.values()), {}))
    table = np.array([[by_file[name] for name in names] for by_file in values.values()], dtype=np.float64)
    table = table[np.isfinite(table).all(axis=1)] if len(table) else table
    n, k = len(table), len(names)
    if n < 2 or k < 2:
        return None
    ranks = stats.rankdata(-table, axis=1).mean(axis=0)
    q = float(stats.studentized_range.ppf(1 - LEVEL, k, np.inf)) / np.sqrt(2)
    alike = bool((table == table[:, :1]).all())
    p = float(stats.friedmanchisquare(*table.T).pvalue) if k > 2 and not alike else None
    return Ranks(dict(zip(names, ranks.tolist(), strict=True)), q * float(np.sqrt(k * (k + 1) / (6 * n))), n, p)
