"""Training photographs of bad quality are left out, by the verdicts of somebody who judges them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import pandas as pd

from retinai.errors import ConfigError, DataError

# What `data.quality=` keeps.
KEPT = {"good": ("good",), "usable": ("good", "usable")}


class Judge(Protocol):
    """Somebody who judges photographs, such as `retinai.quality.files.VerdictStore`."""

    def __call__(self, paths: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Return verdict (`good`, `usable`, `reject`) and reason in words (empty for a good one) by path."""
        ...


def filtered_out(table: pd.DataFrame, wanted: str, judge: Judge | None) -> tuple[dict[str, str], list[str]]:
    """Return which training photographs are left out for their quality.

    Args:
        table: A label table with its final split.
        wanted: A key of `KEPT`.
        judge: Gives the verdicts.

    Returns:
        id -> why, such as `quality reject: out of focus`; and a sentence about it.

    Raises:
        ConfigError: If nobody judges.
        DataError: If no training photograph is left.
    """
    if judge is None:
        raise ConfigError(
            [f"data.quality={wanted} needs somebody who judges photographs: call use_judge(VerdictStore(cache)) of "
             "retinai.quality.files before setup"]
        )  # fmt: skip
    train = table[table["split"] == "train"]
    verdicts = judge(train["path"].tolist())
    out: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name, path in zip(train["id"], train["path"], strict=True):
        verdict, reason = verdicts[path]
        if verdict not in KEPT[wanted]:
            out[name] = f"quality {verdict}: {reason}"
            counts[f"{verdict}, {reason}"] += 1
    if len(train) and len(out) == len(train):
        told = "; ".join(f"{what}: {count}" for what, count in counts.most_common(3))
        raise DataError(f"data.quality={wanted} leaves none of the {len(train)} training photographs ({told})")
    told = "; ".join(f"{what}: {count}" for what, count in counts.most_common())
    left = f"data.quality={wanted} leaves {len(out)} of {len(train)} training photographs out"
    return out, [f"{left} ({told})" if told else left]
