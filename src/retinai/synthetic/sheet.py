"""Contact sheets of synthetic photographs: `python -m retinai.synthetic.sheet grades|labels FILE.png`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from retinai.files import atomic_path
from retinai.synthetic.devices import MIXED
from retinai.synthetic.keywords import describe
from retinai.synthetic.persons import draw_person
from retinai.synthetic.photograph import Findings, draw_photograph
from retinai.tasks.known import ODIR_8

_Tile = Callable[[int], npt.NDArray[np.uint8]]
# Photographs are drawn at this size and reduced, as training does.
_DRAWN = 512


def write_grade_sheet(path: Path, columns: int = 5, side: int = 150, seed: int = 0) -> None:
    """Write the sheet of grades 0 to 4 from top to bottom, left and right eyes in turn.

    Args:
        path: PNG file to write.
        columns: Photographs per grade.
        side: Side of a photograph in pixels.
        seed: Seed of the photographs.
    """
    rows: list[_Tile] = []
    for grade in range(5):

        def tile(column: int, grade: int = grade) -> npt.NDArray[np.uint8]:
            rng = np.random.default_rng([seed, grade, column])
            return draw_photograph(rng, Findings(grade), "square", _DRAWN, column % 2 == 1).image

        rows.append(tile)
    _write(path, rows, columns, side)


def write_label_sheet(path: Path, columns: int = 6, side: int = 160, seed: int = 0) -> None:
    """Write the sheet of ODIR's labels, N D G C A H M O from top to bottom; each eye has this one alone.

    Args:
        path: PNG file to write.
        columns: Photographs per label, each of another person.
        side: Side of a photograph in pixels.
        seed: Seed of the photographs.
    """
    rows: list[_Tile] = []
    for number, letter in enumerate(ODIR_8.classes):

        def tile(column: int, number: int = number, letter: str = letter) -> npt.NDArray[np.uint8]:
            rng = np.random.default_rng([seed, number, column])
            person = draw_person(rng, int(rng.integers(35, 80)), MIXED[column % len(MIXED)])
            findings, _, _ = describe(rng, [] if letter == "N" else [letter])
            return draw_photograph(rng, findings, "square", _DRAWN, column % 2 == 1, person).image

        rows.append(tile)
    _write(path, rows, columns, side)


def _write(path: Path, rows: Sequence[_Tile], columns: int, side: int) -> None:
    reduced = [
        np.hstack([cv2.resize(tile(c), (side, side), interpolation=cv2.INTER_AREA) for c in range(columns)])
        for tile in rows
    ]
    # A palette keeps the file small; this way of choosing it keeps the rare colours of small lesions.
    sheet = Image.fromarray(np.vstack(reduced)).quantize(256, method=Image.Quantize.MAXCOVERAGE)
    with atomic_path(path) as temporary:
        sheet.save(temporary, optimize=True)


if __name__ == "__main__":
    sheets = {"grades": write_grade_sheet, "labels": write_label_sheet}
    if len(sys.argv) != 3 or sys.argv[1] not in sheets:
        sys.exit("usage: python -m retinai.synthetic.sheet grades|labels FILE.png")
    sheets[sys.argv[1]](Path(sys.argv[2]))
