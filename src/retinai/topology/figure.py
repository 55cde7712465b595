"""A figure of photographs beside their persistence images, to see what a topology branch is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from retinai.data.photographs.original import Original
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.reports.figures import readable
from retinai.reports.style import FAINT, new_figure, save_figure
from retinai.tasks.task import Task
from retinai.topology.persistence import field_of_view, persistence_images
from retinai.topology.settings import CHANNELS, TopologySettings

# What a point of each channel is, on a photograph.
TITLES = {
    "sublevel_h0": "sublevel H0\ndark spots",
    "sublevel_h1": "sublevel H1\nbright areas in dark rings",
    "superlevel_h0": "superlevel H0\nbright spots",
    "superlevel_h1": "superlevel H1\ndark areas in bright rings",
}


@dataclass(frozen=True, eq=False)
class Example:
    """A photograph to draw.

    Args:
        title: What stands above it.
        photograph: Prepared pixels, uint8, (S, S, 3).
    """

    title: str
    photograph: np.ndarray


def find_examples(table: pd.DataFrame, task: Task, preprocessing: Preprocessing) -> list[Example]:
    """Return the first photograph of the lowest and of the highest grade; for labels the first one.

    Args:
        table: Label table of good photographs.
        task: Its task.
        preprocessing: How photographs are prepared.
    """
    labelled = table[table["target"].notna()]
    if labelled.empty:
        return []
    rows = [labelled.iloc[row] for row in task.example_rows(labelled["target"].tolist())]
    return [Example(_title(row, task), Original.read(row["path"]).prepared(preprocessing)) for row in rows]


def _title(row: pd.Series, task: Task) -> str:
    name = str(row["id"])
    # Several labels would not fit above a photograph.
    shown = task.class_names(row["target"]) if task.distribution == "categorical" else []
    return "\n".join([name, *map(readable, shown)])


def draw_topology(path: str | Path, examples: Sequence[Example], settings: TopologySettings) -> Path:
    """Draw each photograph, its field of view dimly outlined, and its four persistence images; one row each.

    The square root of the values is shown, on one scale per channel over all rows, so that rows compare.

    Args:
        path: The PNG file.
        examples: At least one.
        settings: Which images.
    """
    columns = 1 + len(CHANNELS)
    figure, cells = new_figure(2.3 * columns, 2.65 * len(examples), len(examples), columns)
    images = np.sqrt([persistence_images(example.photograph, settings) for example in examples])
    highest = images.max(axis=(0, 2, 3))
    for row, example in enumerate(examples):
        own = cells[row * columns : (row + 1) * columns]
        _draw_photograph(own[0], example)
        for number, (name, axes) in enumerate(zip(CHANNELS, own[1:], strict=True)):
            _draw_image(axes, images[row, number], float(highest[number]), settings)
            if row == 0:
                axes.set_title(TITLES[name], fontsize=8.5, loc="left")
            if row == len(examples) - 1:
                axes.set_xlabel(f"birth, {'255 - ' if name.startswith('super') else ''}grey level", fontsize=8.5)
            if number == 0:
                axes.set_ylabel("persistence", fontsize=8.5)
    return save_figure(figure, path)


def _draw_photograph(axes: Axes, example: Example) -> None:
    axes.set_axis_off()
    axes.imshow(example.photograph)
    axes.contour(field_of_view(example.photograph), levels=[0.5], colors=[FAINT], linewidths=0.6)
    axes.set_title(example.title, fontsize=8.5, loc="left")


def _draw_image(axes: Axes, image: np.ndarray, highest: float, settings: TopologySettings) -> None:
    left, right = _edges(settings.birth_range, settings)
    low, high = _edges(settings.persistence_range, settings)
    shown = axes.imshow(image, origin="lower", aspect="auto", cmap="viridis", extent=(left, right, low, high))
    shown.set_clim(0, max(highest, 1e-9))
    axes.grid(False)
    axes.tick_params(labelsize=7)


def _edges(bounds: tuple[float, float], settings: TopologySettings) -> tuple[float, float]:
    """Return the outer edges of the outermost cells, whose centres the settings name."""
    half = (bounds[1] - bounds[0]) / (settings.resolution - 1) / 2
    return bounds[0] - half, bounds[1] + half
