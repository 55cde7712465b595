"""Figures of a data set: how many photographs of each class, and of which sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from retinai.files import atomic_path
from retinai.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

    from retinai.data.curation.file_index import FileRecord

_MOST_SIZES = 12
_COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb", "#222255")
_UNLABELLED = "unlabelled"


def draw_class_balance(path: Path, table: pd.DataFrame, task: Task) -> None:
    """Draw the number of photographs per class, stacked by the owner's split.

    Args:
        path: The PNG file.
        table: A label table.
        task: Its task.
    """
    splits = list(dict.fromkeys(table["split"]))
    counts = {split: class_counts(table[table["split"] == split], task) for split in splits}
    names = [
        name for name in [*task.classes, _UNLABELLED] if name in task.classes or any(c[name] for c in counts.values())
    ]
    figure = Figure(figsize=(max(4.5, 0.9 * len(names) + 1.5), 3.6), layout="constrained")
    axes = figure.add_subplot()
    below = [0] * len(names)
    for number, split in enumerate(splits):
        heights = [counts[split][name] for name in names]
        axes.bar(names, heights, bottom=below, label=split or "all", color=_COLOURS[number % len(_COLOURS)])
        below = [b + h for b, h in zip(below, heights, strict=True)]
    for place, total in enumerate(below):
        axes.annotate(str(total), (place, total), ha="center", va="bottom", fontsize=9)
    axes.set_ylabel("photographs")
    axes.margins(y=0.12)
    axes.set_title(f"{len(table)} photographs, {task.name}")
    if splits != [""]:
        axes.legend(title="split", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def draw_image_sizes(path: Path, table: pd.DataFrame, records: Mapping[str, FileRecord], task: Task) -> None:
    """Draw the commonest sizes of photographs, stacked by class.

    A size that goes with one class is a short cut that a network can learn instead of the disease.

    Args:
        path: The PNG file.
        table: A label table.
        records: Path -> record; bad files are left out.
        task: The task of the table.
    """
    sizes = size_counts(table, records, task)
    rows = sorted(sizes, key=lambda size: -sum(sizes[size].values()))
    shown, rest = rows[:_MOST_SIZES], rows[_MOST_SIZES:]
    names = [name for name in [*task.classes, _UNLABELLED] if any(counts[name] for counts in sizes.values())]
    labels = [f"{width} x {height}" for width, height in shown] + ([f"{len(rest)} other sizes"] if rest else [])
    bars = [sizes[size] for size in shown] + ([sum((sizes[size] for size in rest), Counter())] if rest else [])
    figure = Figure(figsize=(7, max(2.2, 0.35 * len(labels) + 1.2)), layout="constrained")
    axes = figure.add_subplot()
    left = [0] * len(labels)
    for number, name in enumerate(names):
        widths = [bar[name] for bar in bars]
        axes.barh(labels, widths, left=left, label=name, color=_COLOURS[number % len(_COLOURS)])
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel(task.counted)
    kinds = "1 size" if len(rows) == 1 else f"{len(rows)} different sizes"
    axes.set_title(f"{kinds} (width x height in pixels)")
    if names:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def class_counts(table: pd.DataFrame, task: Task) -> Counter[str]:
    """Return the number of photographs per class name, and of `unlabelled` ones.

    A photograph with several labels counts for each.
    """
    counts: Counter[str] = Counter()
    for target in table["target"]:
        counts.update(_names(target, task))
    return counts


def size_counts(
    table: pd.DataFrame, records: Mapping[str, FileRecord], task: Task
) -> dict[tuple[int, int], Counter[str]]:
    """Return (width, height) -> number per class name of the good photographs."""
    sizes: dict[tuple[int, int], Counter[str]] = {}
    for path, target in zip(table["path"], table["target"], strict=True):
        record = records[path]
        if not record.reason:
            sizes.setdefault((record.width, record.height), Counter()).update(_names(target, task))
    return sizes


def _names(target: object, task: Task) -> list[str]:
    return [_UNLABELLED] if target is None else task.class_names(target)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
