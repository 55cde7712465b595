"""Which training photographs are left out for their quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import pytest

from retinai.data.curation.quality_filter import filtered_out
from retinai.errors import ConfigError, DataError

VERDICTS = {"a": ("good", ""), "b": ("usable", "hazy"), "c": ("reject", "too dark"), "d": ("reject", "too dark")}
TABLE = pd.DataFrame({"id": list("abcd"), "path": list("abcd"), "split": ["train", "train", "train", "test"]})


def judge(paths: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    return {path: VERDICTS[path] for path in paths}


@pytest.mark.parametrize(
    ("wanted", "out", "said"),
    [
        ("good", {"b": "quality usable: hazy", "c": "quality reject: too dark"}, "leaves 2 of 3"),
        ("usable", {"c": "quality reject: too dark"}, "leaves 1 of 3"),
    ],
)
def test_only_training_photographs_are_left_out(wanted: str, out: dict[str, str], said: str) -> None:
    found, (note,) = filtered_out(TABLE, wanted, judge)
    assert found == out and said in note and "too dark: 1" in note


def test_none_left_and_nobody_who_judges_are_told() -> None:
    with pytest.raises(DataError, match=r"leaves none of the 1 training photographs \(reject, too dark: 1"):
        filtered_out(TABLE.iloc[2:], "usable", judge)
    with pytest.raises(ConfigError, match="use_judge"):
        filtered_out(TABLE, "usable", None)
