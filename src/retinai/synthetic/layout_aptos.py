"""The tree of APTOS 2019: train.csv, train_images/, test.csv, test_images/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from retinai.files import write_text
from retinai.synthetic.photograph import Findings
from retinai.synthetic.shots import Facts, Plan, Shot, plan_rng, shares

# As skewed as APTOS (.49 .10 .27 .05 .08), but with enough of the rare grades to learn them.
_GRADES = (0.35, 0.15, 0.25, 0.12, 0.13)


def plan_aptos(n: int, size: int, seed: int) -> Plan:
    """Plan `n` graded photographs and a twentieth as many without a label.

    From 40 photographs on, one in a hundred (at least one) is the same file under a second name,
    as in APTOS; from 300 on, the first of them has another grade in the table.

    Args:
        n: Rows of `train.csv`.
        size: Longer side in pixels.
        seed: Seed of the cohort.
    """
    rng = plan_rng(seed)
    grades = shares(rng, n, _GRADES)
    unlabelled = shares(rng, max(5, n // 20), _GRADES)
    names = _hex_names(rng, n + len(unlabelled))
    shots = [_shot(rng, i, f"train_images/{names[i]}.png", grade, size) for i, grade in enumerate(grades)]
    copies = _copy_some(rng, shots, grades)
    shots = [shot for shot in shots if shot.files]
    for number, grade in enumerate(unlabelled, start=n):
        shots.append(_shot(rng, number, f"test_images/{names[number]}.png", grade, size))
    labels = [copies.get(i, grade) for i, grade in enumerate(grades)]

    def finish(folder: Path, facts: Sequence[Facts]) -> None:
        rows = [f"{name},{label}" for name, label in zip(names, labels, strict=False)]
        write_text(folder / "train.csv", "\n".join(["id_code,diagnosis", *rows]) + "\n")
        write_text(folder / "test.csv", "\n".join(["id_code", *names[n:]]) + "\n")

    return Plan(shots, finish)


def _shot(rng: np.random.Generator, index: int, file: str, grade: int, size: int) -> Shot:
    # Some eyes have a few drusen, whatever their grade: a pale spot alone says nothing of DR.
    findings = Findings(grade=grade, drusen=int(rng.integers(3, 12)) if rng.random() < 0.12 else 0)
    return Shot(index, (file,), findings, "aptos", size, bool(rng.random() < 0.5))


def _copy_some(rng: np.random.Generator, shots: list[Shot], grades: list[int]) -> dict[int, int]:
    """Make a few photographs copies of others: the shot gets a second file, the copy's own shot loses its file.

    Returns:
        Label of each copy by its index.
    """
    n = len(shots)
    count = max(1, n // 100) if n >= 40 else 0
    chosen = [int(i) for i in rng.permutation(n)]
    labels: dict[int, int] = {}
    for number in range(count):
        original, copy = chosen[2 * number], chosen[2 * number + 1]
        shots[original] = replace(shots[original], files=shots[original].files + shots[copy].files)
        shots[copy] = replace(shots[copy], files=())
        conflict = number == 0 and count >= 3
        labels[copy] = (grades[original] + 1) % 5 if conflict else grades[original]
    return labels


def _hex_names(rng: np.random.Generator, count: int) -> list[str]:
    """Return different names of 12 hexadecimal digits."""
    names: dict[str, None] = {}
    while len(names) < count:
        names[f"{int(rng.integers(16**12)):012x}"] = None
    return list(names)
