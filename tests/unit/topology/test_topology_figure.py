"""Which photographs the figure of topology shows, and that it shows something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.tasks.known import DR_GRADE, ODIR_COURSE
from retinai.tasks.task import Task
from retinai.topology.figure import draw_topology, find_examples
from retinai.topology.persistence import TopologySettings

PREPROCESSING = Preprocessing(48, (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("task", "targets", "titles"),
    [
        (DR_GRADE, [2, 0, 4, 0], ["p1\nno DR", "p2\nproliferative"]),
        (DR_GRADE, [3, 3, 3, None], ["p0\nsevere"]),
        (ODIR_COURSE, [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)], ["p0"]),
        (DR_GRADE, [None, None, None, None], []),
    ],
    ids=["grades", "one grade", "labels", "no labels"],
)
def test_the_lowest_and_the_highest_grade_are_shown(
    tmp_path: Path, task: Task, targets: list[object], titles: list[str]
) -> None:
    paths = []
    for number in range(4):
        pixels = np.random.default_rng(number).integers(60, 200, (60, 60, 3)).astype(np.uint8)
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(pixels).save(paths[-1])
    ids = [f"p{number}" for number in range(4)]
    table = pd.DataFrame({"id": ids, "path": paths, "target": pd.Series(targets, dtype=object)})
    examples = find_examples(table, task, PREPROCESSING)
    assert [example.title for example in examples] == titles
    if examples:
        file = draw_topology(tmp_path / "f.png", examples, TopologySettings(size=48, resolution=8))
        pixels = np.asarray(Image.open(file).convert("RGB")).astype(int)
        coloured = (np.ptp(pixels, axis=2) > 40).mean()  # viridis; axes and letters are grey
        assert coloured > 0.2 and pixels.shape[0] > 300 * len(examples)
