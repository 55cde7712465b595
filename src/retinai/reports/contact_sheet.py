"""The worst mistakes: which photographs they are, and a sheet that shows them."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.original import Original
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.metrics.mistakes import Mistakes
from retinai.prediction.predictions import Predictions
from retinai.reports.figures import readable
from retinai.reports.style import FAINT, new_figure

THUMBNAIL = 240
_PLAIN = Preprocessing(input_size=THUMBNAIL, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@dataclass(frozen=True, eq=False)
class Mistake:
    """A wrongly judged photograph.

    Args:
        id: Its id.
        true: What it is.
        predicted: What the model says.
        probability: How sure the model is of that, in [0, 1]; None where it does not say.
        image: Thumbnail, uint8 (S, S, 3); None when the photograph cannot be read any more.
    """

    id: str
    true: str
    predicted: str
    probability: float | None
    image: NDArray[np.uint8] | None


def worst_rows(predictions: Predictions, limit: int) -> list[int]:
    """Return the rows of the worst mistakes, worst first.

    Grades: the furthest from the truth first, then the most confident. Labels: the largest sum of
    |probability - truth| over the wrong labels first.

    Args:
        predictions: With targets.
        limit: At most so many.
    """
    found = _mistakes(predictions)
    order = np.lexsort((-found.confidence, -found.size))
    return [int(row) for row in order if found.size[row] > 0][:limit]


def _mistakes(predictions: Predictions) -> Mistakes:
    return predictions.task.mistakes(predictions.labelled, predictions.decisions, predictions.probabilities)


def worst_mistakes(
    predictions: Predictions, preprocessing: Preprocessing | None = None, limit: int = 12
) -> list[Mistake]:
    """Return the worst mistakes with thumbnails in natural colours, cropped as the model crops.

    Args:
        predictions: With targets.
        preprocessing: Of the model; None crops to the field of view.
        limit: At most so many.
    """
    shown = replace(preprocessing or _PLAIN, input_size=THUMBNAIL, interpolation="area", ben_graham=False, clahe=False)
    probability = _mistakes(predictions).probability
    return [_mistake(predictions, row, float(probability[row]), shown) for row in worst_rows(predictions, limit)]


def _mistake(predictions: Predictions, row: int, probability: float, shown: Preprocessing) -> Mistake:
    true, predicted = (
        ", ".join(map(readable, predictions.task.label_names(labels[row]))) or "no label"
        for labels in (predictions.labelled, predictions.decisions)
    )
    sure = None if np.isnan(probability) else probability
    return Mistake(predictions.ids[row], true, predicted, sure, _thumbnail(predictions.paths[row], shown))


def _thumbnail(path: str, shown: Preprocessing) -> NDArray[np.uint8] | None:
    """Read a thumbnail; None (shown as an empty tile) when the file has gone since it was predicted."""
    try:
        return Original.read(path).prepared(shown)
    except (BadImageError, OSError):
        return None


def contact_sheet(mistakes: list[Mistake], columns: int = 4) -> Figure | None:
    """Draw the mistakes as a sheet of photographs with true and predicted class.

    Args:
        mistakes: Worst first.
        columns: Photographs per row.

    Returns:
        The figure; None without a mistake.
    """
    if not mistakes:
        return None
    columns = min(columns, len(mistakes))
    rows = -(-len(mistakes) // columns)
    figure, cells = new_figure(2.1 * columns, 2.75 * rows, rows, columns)
    for axes in cells:
        axes.set_axis_off()
    for axes, mistake in zip(cells, mistakes, strict=False):
        if mistake.image is None:
            axes.text(0.5, 0.5, "photograph\nnot readable", ha="center", va="center", color=FAINT, fontsize=9)
        else:
            axes.imshow(mistake.image)
        sure = "" if mistake.probability is None else f" ({100 * mistake.probability:.0f} %)"
        said = f"said {mistake.predicted}{sure}"
        lines = [_shorten(mistake.id), *textwrap.wrap(f"is {mistake.true}", 27), *textwrap.wrap(said, 27)]
        axes.set_title("\n".join(lines), fontsize=8.5, loc="left")
    return figure


def _shorten(name: str, width: int = 27) -> str:
    return name if len(name) <= width else f"...{name[3 - width :]}"
