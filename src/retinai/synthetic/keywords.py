"""What ODIR's keywords stand for: the findings to draw for each, and how often the owner uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retinai.synthetic.photograph import Findings

Draw = Callable[[np.random.Generator], dict[str, Any]]


@dataclass(frozen=True)
class Keyword:
    """One of the owner's keywords.

    Args:
        word: As the owner spells it.
        weight: How many eyes of ODIR's table have it, next to the others of its class.
        draw: Returns fields of `Findings`.
    """

    word: str
    weight: float
    draw: Draw


def _always(**fields: Any) -> Draw:
    return lambda rng: fields


# Class -> its keywords, with their counts in ODIR's table; rare ones are left out. The owner's spellings differ.
KEYWORDS: dict[str, tuple[Keyword, ...]] = {
    "N": (Keyword("normal fundus", 1, _always()),),
    "D": (
        Keyword("mild nonproliferative retinopathy", 546, _always(grade=1)),
        Keyword("moderate non proliferative retinopathy", 978, _always(grade=2)),
        Keyword("severe nonproliferative retinopathy", 158, _always(grade=3)),
        Keyword("proliferative diabetic retinopathy", 82, _always(grade=4)),
    ),
    "G": (
        Keyword("glaucoma", 274, lambda rng: {"cup_to_disc": float(rng.uniform(0.72, 0.9)), "wedge": True}),
        Keyword("suspected glaucoma", 42, lambda rng: {"cup_to_disc": float(rng.uniform(0.64, 0.72))}),
    ),
    "C": (Keyword("cataract", 1, lambda rng: {"haze": float(rng.uniform(0.42, 0.7))}),),
    "A": (
        Keyword("dry age-related macular degeneration", 227, lambda rng: _degenerated(rng, wet=False)),
        Keyword("wet age-related macular degeneration", 49, lambda rng: _degenerated(rng, wet=True)),
    ),
    "H": (Keyword("hypertensive retinopathy", 1, _always(hypertension=True)),),
    "M": (Keyword("pathological myopia", 1, _always(myopia=True)),),
    "O": (
        Keyword("macular epiretinal membrane", 195, _always(membrane=True)),
        Keyword("epiretinal membrane", 174, _always(membrane=True)),
        Keyword("drusen", 179, lambda rng: {"drusen": int(rng.integers(14, 28))}),
        Keyword("myelinated nerve fibers", 95, _always(nerve_fibres=True)),
        Keyword("laser spot", 85, lambda rng: {"laser_spots": int(rng.integers(30, 70))}),
        Keyword("chorioretinal atrophy", 40, lambda rng: {"scars": int(rng.integers(2, 5))}),
        Keyword("branch retinal vein occlusion", 32, _always(vein_occlusion=True)),
    ),
}
# Remarks about a photograph, which say nothing of a disease, with the share of eyes that have one.
REMARKS = {"lens dust": 0.034, "low image quality": 0.004, "image offset": 0.004}
INVISIBLE_DISC = "optic disk photographically invisible"
# On these no fundus is seen, so they have no labels; in ODIR a handful, here one eye in eighty.
NO_FUNDUS = ("anterior segment image", "no fundus image")
NO_FUNDUS_SHARE = 0.0125
# Separators: nearly always a full-width comma; the ASCII one occurs too (2 of 729 cells, here one in thirty).
SEPARATORS = (("\uff0c", 29), (",", 1))


def _degenerated(rng: np.random.Generator, wet: bool) -> dict[str, Any]:
    return {"drusen": int(rng.integers(40, 90)), "large_drusen": True, "wet": wet}


def describe(rng: np.random.Generator, classes: Sequence[str]) -> tuple[Findings, tuple[str, ...], str]:
    """Return what an eye with these classes has, its keywords, and what joins them in the owner's cell.

    Args:
        rng: Source of randomness.
        classes: Letters of ODIR_8 but N; none for a normal eye.
    """
    fields: dict[str, Any] = {}
    words = []
    for letter in classes or ("N",):
        keyword = KEYWORDS[letter][_pick(rng, [k.weight for k in KEYWORDS[letter]])]
        for name, value in keyword.draw(rng).items():
            fields[name] = max(fields[name], value) if name == "drusen" and name in fields else value
        words.append(keyword.word)
    chance = float(rng.random())
    for remark, share in REMARKS.items():
        if 0 <= chance < share:
            words.insert(0, remark)
            fields |= {"dust": 9} if remark == "lens dust" else {}
            fields.setdefault("haze", 0.2) if remark == "low image quality" else None
        chance -= share
    if fields.get("haze", 0.0) > 0.62 and rng.random() < 0.2:
        words.append(INVISIBLE_DISC)
    separator = SEPARATORS[_pick(rng, [weight for _, weight in SEPARATORS])][0]
    return Findings(**fields), tuple(words), separator


def _pick(rng: np.random.Generator, weights: Sequence[float]) -> int:
    return int(rng.choice(len(weights), p=np.asarray(weights, dtype=float) / np.sum(weights)))
