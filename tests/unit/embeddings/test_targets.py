"""What a column asks, and columns and parts that cannot be probed."""

from __future__ import annotations

import pandas as pd
import pytest

from retinai.embeddings.labelled import make_parts
from retinai.embeddings.targets import Target, column_target
from retinai.errors import DataError
from retinai.tasks.binary import BinaryTask

TASK = BinaryTask("sick", ("well", "sick"))


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["0", "1", ""], {"a": 0, "b": 1}),
        (["yes", "no", "yes"], {"a": 1, "b": 0, "c": 1}),
        (["female", "male", "male"], {"a": 0, "b": 1, "c": 1}),
        (["54", "61.5", "70"], {"a": 54.0, "b": 61.5, "c": 70.0}),
    ],
)
def test_columns(cells: list[str], values: dict[str, float]) -> None:
    target = column_target("x", pd.Series(cells, index=list("abc")), "labels.csv")
    assert dict(target.values) == values and target.task.has_probabilities == (len(set(cells) - {""}) <= 2)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["54", "old", "70"], "mixes numbers and words (such as 'old')"),
        (["a", "b", "c"], "3 different words (a, b, c)"),
        (["1", "1", ""], "one value only"),
        (["", "", ""], "no values"),
    ],
)
def test_columns_that_ask_nothing(cells: list[str], told: str) -> None:
    with pytest.raises(DataError) as caught:
        column_target("x", pd.Series(cells, index=list("abc")), "labels.csv")
    assert told in str(caught.value) and "labels.csv: column x" in str(caught.value)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"a": 0, "b": 0, "c": 1, "t": 1}, "one photograph only of sick"),
        ({"a": 0, "b": 0, "c": 0, "t": 1}, "no photograph but of well"),
        ({"a": 0, "b": 1}, "is known of no photograph of the test part"),
        (
            {"a": 0, "b": 1, "c": 0, "d": 1, "t": 1},
            "the test part has no photograph but of sick, so nothing can be ranked",
        ),
        ({"t": 1}, "is known of no photograph of the training part"),
    ],
)
def test_parts_that_are_too_small(answers: dict[str, int], told: str) -> None:
    rows = [(name, "test" if name == "t" else "train") for name in "abcdt"]
    table = pd.DataFrame([(i, i, i, split) for i, split in rows], columns=["id", "path", "patient", "split"])
    with pytest.raises(DataError) as caught:
        make_parts(Target("sick", TASK, answers), table)
    assert told in str(caught.value)
