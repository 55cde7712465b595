"""A copy of the data set that was trained on follows the training's split, whatever else it holds."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from retinai.data.curation.known_split import KnownSplit
from retinai.data.sources.label_table import as_targets
from retinai.errors import DataError

KNOWN = KnownSplit.of_ids(["a", "b", "c", "bad", "p", "gone"], ["train", "val", "test", "left_out", "predict", "train"])


def table(**rows: tuple[Any, str]) -> pd.DataFrame:
    """Return a label table from id=(target, the owner's part)."""
    targets = as_targets([target for target, _ in rows.values()])
    paths = [f"{name}.png" for name in rows]
    return pd.DataFrame(
        {"id": list(rows), "path": paths, "target": targets, "split": [part for _, part in rows.values()]}
    )


CASES: dict[str, tuple[tuple[Any, str], str]] = {
    # The id stands in KNOWN or, from `new` on, it does not; the owner's part; the part that it gets.
    "a": ((1, "test"), "train"),
    "b": ((1, ""), "val"),
    "c": ((1, "train"), "test"),
    "bad": ((1, "train"), "left_out"),
    "p": ((None, "predict"), "predict"),
    "new_train": ((1, "train"), "train"),
    "new_test": ((1, "test"), "test"),
    "new_without_part": ((1, ""), "test"),
    "new_unlabelled": ((None, "predict"), "predict"),
}


def test_known_ids_keep_their_part_and_others_take_the_owners_or_test() -> None:
    parts, notes = KNOWN.assign(table(**{name: row for name, (row, _) in CASES.items()}), [])
    assert parts == [part for _, part in CASES.values()]
    assert notes == [
        "the split is that of the training: 5 of 9 photographs were there",
        "4 photographs were not there; they take the owner's part, or else test: 1 in train, 2 in test, 1 in predict",
    ]


def test_labels_that_came_or_went_since_the_training() -> None:
    assert KNOWN.assign(table(a=(None, "predict"), p=(2, "train"), bad=(None, "predict")), [])[0] == [
        "predict", "train", "left_out",
    ]  # fmt: skip


def test_a_new_photograph_that_shows_what_was_trained_on_goes_with_it() -> None:
    rows = table(a=(1, ""), b=(1, ""), c=(1, ""), x=(1, "test"), y=(1, ""), z=(1, ""), u=(None, "predict"))
    groups = [["a.png", "x.png", "u.png"], ["y.png", "b.png"], ["c.png", "z.png"]]
    parts, notes = KNOWN.assign(rows, groups)
    assert parts == ["train", "val", "test", "train", "val", "test", "predict"]
    assert notes[-1] == "2 of these show what the network was trained on and go with it: x, y"


def test_it_travels_as_plain_values_without_the_ids() -> None:
    values = KNOWN.to_dict()
    assert {part: len(text) for part, text in values.items()} == {
        "train": 32, "val": 16, "test": 16, "left_out": 16, "predict": 16,
    }  # fmt: skip
    again = KnownSplit.from_dict(values)
    assert [again.part_of(name) for name in ("a", "b", "gone", "nobody")] == ["train", "val", "train", None]


@pytest.mark.parametrize(
    "values", [{"train": "abc"}, {"train": ["a" * 16]}, {"training": "a" * 16}, [1], "train"], ids=str
)
def test_damaged_ones_are_refused(values: Any) -> None:
    with pytest.raises(DataError, match="the split in the checkpoint"):
        KnownSplit.from_dict(values)
