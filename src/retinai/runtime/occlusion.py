"""What a grade rests on, without gradients: parts of the photograph are covered, and the grade is asked again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from retinai.runtime.exported_model import ExportedModel

CELLS = 8  # a side
SHOWN_SIDE = 448  # pixels of a picture
_BATCH = 16


def occlusion_map(
    model: ExportedModel,
    pixels: NDArray[np.uint8],
    values: Mapping[str, NDArray[np.float32]],
    cells: int = CELLS,
    turn: AbstractContextManager[Any] | None = None,
) -> NDArray[np.float64]:
    """Return by how much the score falls where a cell of a photograph is covered by its mean colour, (cells, cells).

    The score is the expected grade, sum of k * P(grade k), for ordered grades, else the probability of the
    most probable class. What lies outside of the field of view is not covered and gets 0.

    Args:
        model: The exported folder.
        pixels: A prepared photograph, uint8 (S, S, 3), RGB.
        values: What the network reads beside it, by name; not changed with the covered photograph.
        cells: Cells of a side.
        turn: Entered for each run of the network, so that others who wait for it get theirs in between.

    Source: Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2.
    """
    side = pixels.shape[0]
    lit = pixels.max(axis=2) > model.preprocessing.outside + 8
    if model.preprocessing.ben_graham:
        lit = np.ones((side, side), dtype=bool)
    colour = pixels[lit].mean(axis=0) if lit.any() else np.zeros(3)
    edges = np.linspace(0, side, cells + 1).round().astype(int)
    places = [(row, column) for row in range(cells) for column in range(cells)]
    boxes = [(slice(edges[r], edges[r + 1]), slice(edges[c], edges[c + 1])) for r, c in places]
    seen = [number for number, box in enumerate(boxes) if lit[box].any()]
    turn = turn or nullcontext()
    with turn:
        whole = _probabilities(model, pixels[None], values)[0]
    kind = None if "ordered" in model.task.target_types else int(whole.argmax())
    before = whole @ np.arange(len(whole)) if kind is None else whole[kind]
    found = np.zeros(cells * cells)
    for first in range(0, len(seen), _BATCH):
        numbers = seen[first : first + _BATCH]
        covered = np.repeat(pixels[None], len(numbers), axis=0)
        for copy, number in zip(covered, numbers, strict=True):
            part = copy[boxes[number]]
            part[lit[boxes[number]]] = colour.round().astype(np.uint8)
        with turn:
            found[numbers] = before - _scores(model, covered, values, kind)
    return found.reshape(cells, cells)


def draw_map(pixels: NDArray[np.uint8], found: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the photograph with the cells that raise the score in warm colours, scaled by the largest; RGB.

    Args:
        pixels: The prepared photograph, uint8 (S, S, 3), RGB.
        found: Of `occlusion_map`.
    """
    shown = cv2.resize(pixels, (SHOWN_SIDE, SHOWN_SIDE), interpolation=cv2.INTER_LINEAR)
    heat = np.maximum(found, 0)
    share = heat / heat.max() if heat.max() > 0 else heat
    wide = cv2.resize(share.astype(np.float32), (SHOWN_SIDE, SHOWN_SIDE), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap((255 * wide).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    strength = 0.65 * np.sqrt(wide)[:, :, None]
    return (shown * (1 - strength) + colours * strength).astype(np.uint8)


def _scores(
    model: ExportedModel, photographs: NDArray[np.uint8], values: Mapping[str, NDArray[np.float32]], kind: int | None
) -> NDArray[np.float64]:
    """Return the probability of a class, or with None the expected grade, (N,)."""
    probabilities = _probabilities(model, photographs, values)
    if kind is None:
        return probabilities @ np.arange(probabilities.shape[1], dtype=np.float64)
    return probabilities[:, kind]


def _probabilities(
    model: ExportedModel, photographs: NDArray[np.uint8], values: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float64]:
    beside = {name: np.repeat(value[None], len(photographs), axis=0) for name, value in values.items()}
    return model.probabilities(photographs, beside)
