"""How far the lesions that a text names are those of the masks, over annotated photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.lesions.findings import LESION_NAMES, Findings
from retinai.lesions.negation import affirmed
from retinai.metrics.bootstrap import LEVEL, Interval, bootstrap_weights, divide, interval

Table = NDArray[np.bool_]


def findings_metrics(
    texts: Sequence[str], findings: Sequence[Findings | None], resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compare the lesions that texts name with those that the masks show.

    A lesion is judged on the photographs on which it was annotated, and on no others. Precision: of the
    photographs on which it is named, the share that has it. Recall: of those that have it, the share on
    which it is named. Invented: of those that do not have it, the share on which it is named all the same.

    Args:
        texts: A text per photograph, N.
        findings: What the masks say; None, or nothing annotated, leaves a photograph out.
        resamples: Bootstrap resamples for the intervals over all lesions together.
        seed: Seed of the resamples.

    Returns:
        Plain values: `photographs` (annotated ones); `lesions`, per lesion `photographs`, `present`,
        `named`, `true_positive`, `false_positive`, `false_negative`, `true_negative`, and `precision`,
        `recall` and `invented`, each `{"value", "low", "high"}` with a 95 % interval, None where
        undefined; `all`, the same over all pairs of photograph and lesion; `photographs_with_invented`,
        the share of photographs on which any lesion is invented; `unjudged`, how often a lesion is named
        that was not annotated there.

    Raises:
        ValueError: If there are not as many texts as findings.

    Source: intervals of one lesion by Wilson, "Probable Inference, the Law of Succession, and
        Statistical Inference", J. Am. Stat. Assoc. 22, 1927; of all lesions by bootstrap over
        photographs, because the lesions of one photograph depend on each other.
    """
    pairs = [(t, f) for t, f in zip(texts, findings, strict=True) if f is not None and f.annotated]
    named = _table([affirmed(text) for text, _ in pairs])
    judged = _table([set(found.annotated) for _, found in pairs])
    there = _table([{lesion.lesion for lesion in found.present} for _, found in pairs])
    lesions = {
        lesion: _of_lesion(named[rows, place], there[rows, place])
        for place, lesion in enumerate(LESION_NAMES)
        if (rows := judged[:, place]).any()
    }
    invented = (named & judged & ~there).any(axis=1)
    return {
        "photographs": len(pairs),
        "lesions": lesions,
        "all": _of_all(named, there, judged, resamples, seed),
        "photographs_with_invented": wilson(int(invented.sum()), len(pairs)),
        "unjudged": int((named & ~judged).sum()),
    }


def wilson(count: int, total: int) -> Interval:
    """Return a share and its 95 % Wilson interval; None where there is nothing to divide by."""
    from scipy.stats import binomtest

    if total == 0:
        return {"value": None, "low": None, "high": None}
    bounds = binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    return {"value": count / total, "low": float(bounds.low), "high": float(bounds.high)}


def _table(sets: Sequence[set[str]]) -> Table:
    """Return sets of lesions as a table, bool, (N, lesions)."""
    rows = [[lesion in chosen for lesion in LESION_NAMES] for chosen in sets]
    return np.array(rows, dtype=bool).reshape(len(sets), len(LESION_NAMES))


def _counts(named: Table, there: Table) -> dict[str, int]:
    return {
        "photographs": len(named),
        "present": int(there.sum()),
        "named": int(named.sum()),
        "true_positive": int((named & there).sum()),
        "false_positive": int((named & ~there).sum()),
        "false_negative": int((~named & there).sum()),
        "true_negative": int((~named & ~there).sum()),
    }


def _of_lesion(named: Table, there: Table) -> dict[str, Any]:
    counts = _counts(named, there)
    return {
        **counts,
        "precision": wilson(counts["true_positive"], counts["named"]),
        "recall": wilson(counts["true_positive"], counts["present"]),
        "invented": wilson(counts["false_positive"], counts["photographs"] - counts["present"]),
    }


def _of_all(named: Table, there: Table, judged: Table, resamples: int, seed: int) -> dict[str, Any]:
    photographs = [str(row) for row in range(len(named))]
    # Nothing can be drawn from no photographs.
    weights = bootstrap_weights(photographs, resamples, seed) if photographs else np.ones((1, 0), np.float32)

    def total(cells: Table) -> NDArray[np.float64]:
        return weights.astype(np.float64) @ (cells & judged).sum(axis=1)

    right = total(named & there)
    return {
        **_counts(named[judged], there[judged]),
        "photographs": len(named),
        "precision": interval(divide(right, total(named))),
        "recall": interval(divide(right, total(there))),
        "invented": interval(divide(total(named & ~there), total(~there))),
    }
