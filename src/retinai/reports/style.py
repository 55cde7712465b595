"""One look for all figures: sizes that survive a phone, colours that survive colour blindness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from retinai.files import atomic_path
from retinai.log import printable

# Okabe and Ito's colours without the yellow, which is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)), "-.", "--", ":")
INK, FAINT = "#222222", "#8a8a8a"
FRAME, GRID = "#dddddd", "#e6e6e6"  # of legends; behind the data
_DPI = 150


def new_figure(
    width: float = 5.2, height: float = 4.2, rows: int = 1, columns: int = 1, heights: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes in reading order; no global state of matplotlib is touched.

    Args:
        width: Inches.
        height: Inches.
        rows: Rows of axes.
        columns: Columns of axes.
        heights: How the height is shared between the rows; None: evenly.
    """
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights).ravel().tolist()
    for one in axes:
        clean(one)
    return figure, axes


def clean(axes: Axes) -> None:
    """Leave the frame's left and bottom, a faint grid, and labels of readable size."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=9, colors=INK, length=3)
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def line_style(index: int) -> dict[str, Any]:
    """Return colour and dashes of the line with this number: lines differ without colour too."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)], "linewidth": 1.7}


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, whole or not at all, the same bytes for the same figure.

    Its texts may be names of files and classes: a `$` in them begins no formula, and every character can be drawn.
    """
    axes = [axis for one in figure.axes for axis in (one.xaxis, one.yaxis) if axis.get_scale() == "log"]
    powers = {id(label) for axis in axes for label in (*axis.get_ticklabels(), *axis.get_ticklabels(minor=True))}
    for text in figure.findobj(Text):
        if id(text) not in powers:  # matplotlib itself writes those as formulas
            text.set_parse_math(False)
            text.set_text(printable(text.get_text()))
    engine = figure.get_layout_engine()
    if engine is not None:  # matplotlib would draw everything once only to lay it out
        engine.execute(figure)
        figure.set_layout_engine("none")
    with atomic_path(path) as temporary:
        # `savefig` would draw the figure a second time before it draws what it writes.
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})
    return Path(path)
