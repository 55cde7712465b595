"""What a layout asks for: photographs to take, and the tables to write once they are taken."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retinai.synthetic.persons import Person
from retinai.synthetic.photograph import Findings, Photograph, draw_photograph, encode

# Streams of randomness that must not meet: photograph number i draws from (seed, _PHOTOGRAPHS, i),
# the plan of a layout from (seed, _PLAN).
_PLAN, _PHOTOGRAPHS = 0, 1


@dataclass(frozen=True)
class Shot:
    """One photograph to draw and the files that it becomes.

    Args:
        index: Number of the photograph in the cohort; with the seed it decides every pixel.
        files: Paths inside the cohort's folder, `.png` or `.jpg`; all get the same bytes.
        findings: What the eye has.
        style: Camera, a key of `camera.FRAMES`.
        size: Longer side in pixels.
        mirrored: True for a left eye.
        writer: Writes more files from the photograph (masks of an owner's own form), or None.
        person: Whose eye it is, where both eyes of a patient are to look alike; None for chance alone.
    """

    index: int
    files: tuple[str, ...]
    findings: Findings
    style: str
    size: int
    mirrored: bool
    writer: Callable[[Photograph, Path], None] | None = None
    person: Person | None = None


@dataclass(frozen=True)
class Facts:
    """What is known once a photograph is drawn: its grade and its risk of macular oedema."""

    grade: int
    dme: int


@dataclass(frozen=True)
class Plan:
    """A cohort before it is drawn.

    Args:
        shots: The photographs.
        finish: Writes the tables; called with the folder and the facts in the order of the shots.
    """

    shots: Sequence[Shot]
    finish: Callable[[Path, Sequence[Facts]], None]


def plan_rng(seed: int) -> np.random.Generator:
    """Return the randomness of a cohort's plan (labels, names), apart from that of its pixels."""
    return np.random.default_rng(np.random.SeedSequence([seed, _PLAN]))


def take(shot: Shot, folder: Path, seed: int, masks: bool = False) -> Facts:
    """Draw one photograph and write its files.

    Args:
        shot: What to draw.
        folder: The cohort's folder.
        seed: The cohort's seed.
        masks: Also write `masks/<file without suffix>/<name>.png`, 0 or 255.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, _PHOTOGRAPHS, shot.index]))
    photograph = draw_photograph(rng, shot.findings, shot.style, shot.size, shot.mirrored, shot.person)
    first = folder / shot.files[0]
    first.parent.mkdir(parents=True, exist_ok=True)
    first.write_bytes(encode(photograph.image, first.suffix))
    for name in shot.files[1:]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(first, folder / name)
    if shot.writer is not None:
        shot.writer(photograph, folder)
    if masks:
        for name in shot.files:
            _write_masks(photograph, folder / "masks" / Path(name).with_suffix(""))
    return Facts(photograph.grade, photograph.dme)


def _write_masks(photograph: Photograph, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in photograph.masks.items():
        (folder / f"{name}.png").write_bytes(encode(mask.astype(np.uint8) * np.uint8(255), ".png"))


def shares(rng: np.random.Generator, n: int, parts: Sequence[float]) -> list[int]:
    """Return n class numbers in random order whose counts follow `parts`, each class at least once.

    Args:
        rng: Source of randomness.
        n: Number wanted, at least the number of classes.
        parts: Share of each class, adding up to 1.
    """
    ideal = np.asarray(parts) * n
    counts = np.maximum(1, np.floor(ideal)).astype(int)
    while counts.sum() < n:
        counts[int(np.argmax(ideal - counts))] += 1
    while counts.sum() > n:
        counts[int(np.argmax(np.where(counts > 1, counts - ideal, -np.inf)))] -= 1
    return [int(c) for c in rng.permutation(np.repeat(np.arange(len(counts)), counts))]
