"""Covering parts of a photograph finds the part that a network reads, and no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.runtime.occlusion import SHOWN_SIDE, draw_map, occlusion_map
from retinai.tasks.known import DR_GRADE, ODIR_COURSE
from retinai.tasks.task import Task


def reader_of_one_cell(task: Task, row: int, column: int) -> Any:
    """A model whose last class is the more probable, the brighter one cell of ten by ten is in green."""

    def probabilities(photographs: np.ndarray, values: Any) -> np.ndarray:
        cell = photographs[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4, 1]
        high = cell.mean(axis=(1, 2)) / 255
        found = np.zeros((len(photographs), task.num_classes))
        found[:, -1], found[:, 0] = high, 1 - high
        return found

    preprocessing = Preprocessing(40, (0.5,) * 3, (0.5,) * 3)
    return SimpleNamespace(task=task, preprocessing=preprocessing, probabilities=probabilities)


def photograph(row: int, column: int) -> np.ndarray:
    y, x = np.mgrid[:40, :40]
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[(y - 20) ** 2 + (x - 20) ** 2 < 19**2] = (120, 60, 30)
    pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = (255, 255, 90)
    return pixels


@pytest.mark.parametrize(("task", "worth"), [(DR_GRADE, 4.0), (ODIR_COURSE, 1.0)])
def test_it_finds_the_cell_that_is_read(task: Task, worth: float) -> None:
    pixels = photograph(3, 6)
    found = occlusion_map(reader_of_one_cell(task, 3, 6), pixels, {}, cells=10)
    mean = pixels[pixels.max(axis=2) > 8].mean(axis=0).round()[1]
    assert found[3, 6] == pytest.approx(worth * (255 - mean) / 255) and np.count_nonzero(found) == 1
    drawn = draw_map(pixels, found)
    assert drawn.shape == (SHOWN_SIDE, SHOWN_SIDE, 3) and drawn.dtype == np.uint8
    plain = draw_map(pixels, np.zeros((10, 10)))
    changed = np.argwhere(np.any(drawn != plain, axis=2)).mean(axis=0) / SHOWN_SIDE * 10
    assert changed == pytest.approx([3.5, 6.5], abs=0.3)


def test_what_is_outside_of_the_field_of_view_is_not_covered() -> None:
    pixels = photograph(3, 6)
    found = occlusion_map(reader_of_one_cell(DR_GRADE, 0, 0), pixels, {}, cells=10)
    assert not found.any()
