"""The tree of IDRiD: A. Segmentation with lesion masks, B. Disease Grading with two label tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from retinai.files import atomic_path
from retinai.synthetic.photograph import Findings, Photograph
from retinai.synthetic.shots import Facts, Plan, Shot, plan_rng, shares

_PARTS = ("a. Training Set", "b. Testing Set")
_TABLES = (
    # (name, what the owner's header and rows end with)
    ("a. IDRiD_Disease Grading_Training Labels.csv", ",,,,,,,,,"),
    ("b. IDRiD_Disease Grading_Testing Labels.csv", ""),
)
_HEADER = "Image name,Retinopathy grade,Risk of macular edema "
_GRADES = (0.3, 0.1, 0.3, 0.17, 0.13)
_GRADING = "B. Disease Grading/1. Original Images"
_SEGMENTATION = "A. Segmentation/1. Original Images"
_MASKS = "A. Segmentation/2. All Segmentation Groundtruths"
_LESIONS: dict[str, tuple[str, str]] = {
    "microaneurysm": ("1. Microaneurysms", "MA"),
    "haemorrhage": ("2. Haemorrhages", "HE"),
    "hard_exudate": ("3. Hard Exudates", "EX"),
    "soft_exudate": ("4. Soft Exudates", "SE"),
    "optic_disc": ("5. Optic Disc", "OD"),
}
# Index 1 is red, as in the owners' masks: converted to grey it is 76, not 255.
_PALETTE = [0, 0, 0, 255, 0, 0] + [0] * 750


def plan_idrid(n: int, size: int, seed: int) -> Plan:
    """Plan `n` graded photographs, four fifths for training, and the segmentation part.

    Both parts of B number their photographs from 001. Part A holds a sixth as many photographs, all
    with lesions, two thirds of them for training; most are photographs of B under another number,
    one in four of those from the other side of the split, and the rest are in A alone.

    Args:
        n: Photographs of part B.
        size: Width of the photographs in pixels; the height follows the owners' 4288 x 2848.
        seed: Seed of the cohort.
    """
    rng = plan_rng(seed)
    testing = max(5, n // 5)
    grades = (shares(rng, n - testing, _GRADES), shares(rng, testing, _GRADES))
    shots: list[Shot] = []
    for part, wanted in enumerate(grades):
        for number, grade in enumerate(wanted, start=1):
            file = f"{_GRADING}/{_PARTS[part]}/IDRiD_{number:03d}.jpg"
            shots.append(Shot(len(shots), (file,), Findings(grade), "idrid", size, bool(rng.random() < 0.5)))
    everything = _add_segmentation(rng, shots, len(grades[0]), max(6, n // 6))

    def finish(folder: Path, facts: Sequence[Facts]) -> None:
        start = 0
        for part, wanted in enumerate(grades):
            _write_labels(folder, part, facts[start : start + len(wanted)])
            start += len(wanted)

    return Plan(everything, finish)


def _add_segmentation(rng: np.random.Generator, shots: list[Shot], training: int, count: int) -> list[Shot]:
    """Return the shots with those of part A: most are second files of photographs of part B."""
    shots = list(shots)
    sides = [0] * (count - count // 3) + [1] * (count // 3)
    pools = [
        [i for i in rng.permutation(len(shots)) if shots[i].findings.grade > 0 and (i < training) == (side == 0)]
        for side in (0, 1)
    ]
    for number, side in enumerate(sides, start=1):
        name = f"IDRiD_{number:02d}"
        file = f"{_SEGMENTATION}/{_PARTS[side]}/{name}.jpg"
        # The last of the test masks is the owners' odd one: RGBA instead of a palette.
        writer = MaskWriter(_PARTS[side], name, rgba=number == count)
        pool = pools[1 - side] if number % 4 == 0 and pools[1 - side] else pools[side]
        if number % 5 == 0 or not pool:
            findings = Findings(int(rng.integers(2, 5)))
            shots.append(Shot(len(shots), (file,), findings, "idrid", shots[0].size, bool(rng.random() < 0.5), writer))
        else:
            index = int(pool.pop())
            shots[index] = replace(shots[index], files=(*shots[index].files, file), writer=writer)
    return shots


class MaskWriter:
    """Writes the lesion masks of one photograph of part A; a lesion that is absent has no file.

    Args:
        part: Folder of the part.
        name: Name of the photograph, such as `IDRiD_01`.
        rgba: Write RGBA with LZW, as at least one of the owners' masks is, instead of a palette.
    """

    def __init__(self, part: str, name: str, rgba: bool = False) -> None:
        self.part, self.name, self.rgba = part, name, rgba

    def __call__(self, photograph: Photograph, folder: Path) -> None:
        """Write the masks below the cohort's folder."""
        for lesion, (place, suffix) in _LESIONS.items():
            mask = photograph.masks.get(lesion)
            if mask is not None and mask.any():
                file = folder / _MASKS / self.part / place / f"{self.name}_{suffix}.tif"
                file.parent.mkdir(parents=True, exist_ok=True)
                _write_mask(file, mask, self.rgba)


def _write_mask(file: Path, mask: npt.NDArray[np.bool_], rgba: bool) -> None:
    if rgba:
        pixels = np.zeros((*mask.shape, 4), dtype=np.uint8)
        pixels[mask] = (255, 0, 0, 0)
        pixels[..., 3] = 255
        Image.fromarray(pixels, "RGBA").save(file, compression="tiff_lzw")
        return
    image = Image.fromarray(mask.astype(np.uint8), "P")
    image.putpalette(_PALETTE)
    image.save(file, compression="tiff_lzw")


def _write_labels(folder: Path, part: int, facts: Sequence[Facts]) -> None:
    """Write one label table: CRLF, a space after the last name, in training nine empty columns."""
    name, tail = _TABLES[part]
    rows = [f"IDRiD_{number:03d},{fact.grade},{fact.dme}{tail}" for number, fact in enumerate(facts, start=1)]
    with atomic_path(folder / "B. Disease Grading" / "2. Groundtruths" / name) as temporary:
        temporary.write_bytes("".join(f"{row}\r\n" for row in [_HEADER + tail, *rows]).encode("ascii"))
