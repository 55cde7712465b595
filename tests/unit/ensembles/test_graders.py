"""Which networks are asked about a photograph of their training."""

from __future__ import annotations

import pytest

from retinai.data.curation.known_split import KnownSplit
from retinai.ensembles.calibration import graders


@pytest.mark.parametrize(
    ("parts", "asked"),
    [
        (("train", "test", "train"), [1]),
        (("train", "test", "val"), [1]),  # chosen on it is second best
        (("train", "val", "val"), [1, 2]),
        (("val", "val", "val"), [0, 1, 2]),
        (("train", "test", "test"), [1, 2]),
        (("train", "train", "train"), None),
        (("test", "test", "test"), None),  # for the test
        (("left_out", "left_out", "left_out"), None),
        (("train", "left_out", "left_out"), None),
    ],
)
def test_those_that_were_not_trained_on_it(parts: tuple[str, ...], asked: list[int] | None) -> None:
    splits = [KnownSplit({"a": part}) for part in parts]
    assert graders(splits) == ({} if asked is None else {"a": asked})
