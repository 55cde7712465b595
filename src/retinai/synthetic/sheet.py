"""A contact sheet of synthetic photographs, one row per grade: `python -m retinai.synthetic.sheet FILE.png`."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from retinai.files import atomic_path
from retinai.synthetic.photograph import Findings, draw_photograph


def write_sheet(path: Path, columns: int = 5, side: int = 150, seed: int = 0) -> None:
    """Write the sheet: grades 0 to 4 from top to bottom, left and right eyes in turn.

    Args:
        path: PNG file to write.
        columns: Photographs per grade.
        side: Side of a photograph in pixels; drawn at 512 and reduced, as training does.
        seed: Seed of the photographs.
    """
    rows = []
    for grade in range(5):
        tiles = []
        for column in range(columns):
            rng = np.random.default_rng([seed, grade, column])
            image = draw_photograph(rng, Findings(grade), "square", 512, column % 2 == 1).image
            tiles.append(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
        rows.append(np.hstack(tiles))
    # A palette keeps the file small; this way of choosing it keeps the rare colours of small lesions.
    sheet = Image.fromarray(np.vstack(rows)).quantize(256, method=Image.Quantize.MAXCOVERAGE)
    with atomic_path(path) as temporary:
        sheet.save(temporary, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m retinai.synthetic.sheet FILE.png")
    write_sheet(Path(sys.argv[1]))
