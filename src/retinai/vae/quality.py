"""How alike made-up and real photographs are, by their features; functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Features = NDArray[np.float64]


def frechet_distance(real: _Features, made: _Features) -> float:
    """Return the squared Frechet distance between Gaussians fitted to two sets of features.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). The trace of the root is the sum of the singular values of
    the product of both centred sets, so that no matrix of features by features is needed.

    Args:
        real: (N, D), two or more.
        made: (M, D), two or more.

    Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017, equation 6.
    """
    a, b = real - real.mean(axis=0), made - made.mean(axis=0)
    scale = np.sqrt((len(a) - 1) * (len(b) - 1))
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum() / scale
    traces = np.square(a).sum() / (len(a) - 1) + np.square(b).sum() / (len(b) - 1)
    return float(max(0.0, np.square(real.mean(axis=0) - made.mean(axis=0)).sum() + traces - 2 * root))


def neighbourhoods(real: _Features, made: _Features, k: int = 5) -> dict[str, float]:
    """Return precision, recall, density and coverage, by balls that reach to each photograph's k-th neighbour.

    Precision: made-up photographs inside a ball of a real one. Recall: real ones inside a ball of a made-up one.
    Density: balls of real ones that a made-up one lies in, over k. Coverage: balls of real ones that hold any.

    Args:
        real: (N, D), more than k.
        made: (M, D), more than k.
        k: Which neighbour, from 1.

    Source: Kynkaanniemi et al., "Improved Precision and Recall Metric", NeurIPS 2019; Naeem et al., "Reliable
        Fidelity and Diversity Metrics for Generative Models", ICML 2020.
    """
    between = distances(real, made)
    real_reach = np.sort(distances(real, real), axis=1)[:, k]  # the nearest is the photograph itself
    made_reach = np.sort(distances(made, made), axis=1)[:, k]
    in_real = between < real_reach[:, None]
    return {
        "precision": float(in_real.any(axis=0).mean()),
        "recall": float((between < made_reach[None]).any(axis=1).mean()),
        "density": float(in_real.sum(axis=0).mean() / k),
        "coverage": float((between.min(axis=1) < real_reach).mean()),
    }


def memorisation(trained: _Features, held_out: _Features, made: _Features) -> float:
    """Return the chance that a made-up photograph is nearer to the training photographs than a held-out one is.

    0.5: it keeps as far from them as new photographs do. Near 1: it gives them back. Near 0: it is unlike any.

    Args:
        trained: What the generator was trained on, (N, D).
        held_out: What it was not trained on, of the same kind, (M, D).
        made: (K, D).

    Source: Meehan, Chaudhuri & Dasgupta, "A Non-Parametric Test to Detect Data-Copying in Generative Models",
        AISTATS 2020: the Mann-Whitney statistic of section 3, over the number of pairs; equal ones count half.
    """
    own, new = (distances(part, trained).min(axis=1) for part in (made, held_out))
    less, equal = own[:, None] < new[None], own[:, None] == new[None]
    return float((less + 0.5 * equal).mean())


def high_frequency_ratio(real: NDArray[np.uint8], made: NDArray[np.uint8]) -> float:
    """Return the energy of made-up over real photographs beyond half of the highest frequency; below 1 is blurred.

    Args:
        real: Green channels or greys, (N, S, S).
        made: (M, S, S).
    """
    side = real.shape[-1]
    row, column = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")
    high = np.hypot(row, column) > 0.25
    energies = [float(np.mean(np.abs(np.fft.rfft2(part.astype(np.float64)))[:, high] ** 2)) for part in (made, real)]
    return energies[0] / energies[1] if energies[1] > 0 else float("nan")


def with_interval(
    measure: Callable[[_Features, _Features], float], real: _Features, made: _Features, resamples: int, seed: int
) -> dict[str, float]:
    """Return a measure with a 95 % interval, by subsamples of four fifths of both sets.

    Resampling with replacement would put photographs at a distance of 0 from themselves, so parts without
    repetition are drawn, and their spread is scaled to that of whole sets (Politis & Romano 1994).

    Args:
        measure: Of real and made-up features.
        real: (N, D).
        made: (M, D).
        resamples: Number of subsamples.
        seed: Seed of them.

    Returns:
        `value`, `low`, `high`.
    """
    rng, value = np.random.default_rng(seed), measure(real, made)
    spread = []
    for _ in range(resamples):
        parts = [part[rng.permutation(len(part))[: max(2, 4 * len(part) // 5)]] for part in (real, made)]
        spread.append(measure(parts[0], parts[1]))
    # Var of a share f without replacement is (1 - f) / f of that of the whole.
    deviation = float(np.std(spread)) * np.sqrt(0.8 / 0.2) if spread else float("nan")
    return {"value": value, "low": value - 1.96 * deviation, "high": value + 1.96 * deviation}


def distances(left: _Features, right: _Features) -> _Features:
    """Return Euclidean distances, (N, M)."""
    squares = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)[None] - 2 * left @ right.T
    found = np.sqrt(np.maximum(squares, 0.0))
    if left is right:
        np.fill_diagonal(found, 0.0)
    return np.asarray(found)


def _one_of_neighbourhoods(name: str, k: int, real: _Features, made: _Features) -> float:
    return neighbourhoods(real, made, k)[name]


def judge(
    trained: _Features, held_out: _Features, made: _Features, resamples: int = 50, seed: int = 0
) -> dict[str, Any]:
    """Return every measure of features, those of `with_interval` against the held-out photographs.

    Args:
        trained: What the generator was trained on.
        held_out: What it was not trained on.
        made: What it made up.
        resamples: Subsamples of the intervals.
        seed: Seed of them.
    """
    k = min(5, len(held_out) * 4 // 5 - 1, len(made) * 4 // 5 - 1)
    found: dict[str, Any] = {"frechet": with_interval(frechet_distance, held_out, made, resamples, seed)}
    if k >= 1:
        for name in ("precision", "recall", "density", "coverage"):
            found[name] = with_interval(partial(_one_of_neighbourhoods, name, k), held_out, made, resamples, seed)
        found["neighbours"] = k
    found["memorisation"] = memorisation(trained, held_out, made)
    # What two sets of real photographs get, as a yardstick.
    found["frechet_of_training"] = frechet_distance(held_out, trained)
    return found
