"""Photographs beside those that an encoder takes for most alike: what it looks at, and which labels are odd."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.original import Original
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.embeddings.files import Embeddings
from retinai.errors import DataError
from retinai.reports.style import FAINT, new_figure

ROWS = 8
_SHOWN = Preprocessing(input_size=160, mean=(0, 0, 0), std=(1, 1, 1))


def nearest(vectors: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the nearest photographs of each photograph but itself.

    Args:
        vectors: Shape (N, K).
        count: How many, below N.

    Returns:
        Their rows, nearest first, and their cosine similarities, both of shape (N, count).
    """
    distances, rows = NearestNeighbors(n_neighbors=count + 1, metric="cosine").fit(vectors).kneighbors(vectors)
    # Of equal vectors the photograph itself need not come first.
    own = rows == np.arange(len(vectors))[:, None]
    own[~own.any(axis=1), -1] = True
    kept = ~own
    return rows[kept].reshape(-1, count), 1 - distances[kept].reshape(-1, count)


def neighbours_figure(embeddings: Embeddings, count: int, labels: Mapping[str, str] | None = None) -> Figure:
    """Draw photographs, evenly over the file, each beside its nearest ones with their similarity.

    Args:
        embeddings: The file.
        count: Neighbours per photograph.
        labels: What to write beside photographs, by id.

    Raises:
        DataError: If there are fewer photographs than neighbours.
    """
    total = len(embeddings.ids)
    if total <= count:
        raise DataError(f"neighbours={count} needs more than {count} photographs, and {embeddings.file} holds {total}")
    rows, similar = nearest(embeddings.vectors, count)
    queries = np.unique(np.linspace(0, total - 1, min(ROWS, total)).astype(int))
    figure, cells = new_figure(1.7 * (count + 1), 2.1 * len(queries), len(queries), count + 1)
    for line, query in enumerate(queries):
        for column, (row, value) in enumerate([(int(query), 1.0), *zip(rows[query], similar[query], strict=True)]):
            axes = cells[line * (count + 1) + column]
            axes.set_axis_off()
            image = _thumbnail(embeddings.paths[row])
            if image is None:
                axes.text(0.5, 0.5, "photograph\nnot readable", ha="center", va="center", color=FAINT, fontsize=8)
            else:
                axes.imshow(image)
            name = embeddings.ids[row]
            told = [name if len(name) <= 22 else f"...{name[-19:]}", (labels or {}).get(name, "")]
            told += [] if column == 0 else [f"{value:.3f}"]
            axes.set_title("\n".join(filter(None, told)), fontsize=7.5, loc="left")
    return figure


def _thumbnail(path: str) -> NDArray[np.uint8] | None:
    """Return a small picture; None where the file has gone."""
    try:
        return Original.read(path).prepared(_SHOWN)
    except (BadImageError, OSError):
        return None
