"""ODIR-5K's diagnostic keywords, decoded into the eight classes for each eye.

The owner's label columns speak of a patient; what each eye has stands in its keywords, separated by
full-width commas and now and then by an ASCII one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from retinai.data.sources.label_table import few
from retinai.errors import DataError
from retinai.tasks.known import ODIR_8

# Spellings that occur, `catarct` and the like included, each as a part of the keyword.
_FRAGMENTS = {
    "H": ("hypertensive",),
    "A": ("macular degeneration",),
    "M": ("myopia", "myopic"),
    "G": ("glaucoma",),
    "C": ("cataract", "catarct"),
    "D": ("diabetic", "proliferative retinopathy"),
    "N": ("normal fundus",),
}
# Remarks about the photograph that say nothing about a disease.
_REMARKS = {"lens dust", "low image quality", "optic disk photographically invisible", "image offset"}
# Remarks that say there is no retina to grade.
_NO_FUNDUS = {"no fundus image", "anterior segment image"}
# Findings of class O are many; these words are in those of the data set.
_OTHER = re.compile(
    r"membrane|vein occlusion|artery occlusion|atroph|media opacity|depigmentation|membranous change|tessellated"
    r"|retinitis|pigment|laser|choroiditis|drusen|retina fold|neovasculari[sz]ation|sheathing|tortuosity|vitreous"
    r"|macroaneurysm|silicone oil|choroidopathy|nerve fiber|chorioretinopathy|white line|nevus|disc edema|edema"
    r"|arteriosclerosis|macular hole|detachment|^(suspected )?maculopathy|microvascular|morning glory|yellow-white"
    r"|abnormal color|wedge|vascular loops|glial|coloboma|asteroid|discitis|h(a)?emorrhage|white vessel|exudat|rupture"
)


@dataclass(frozen=True)
class EyeFindings:
    """What the keywords of one eye say.

    Args:
        labels: 0/1 per class of ODIR_8, or None when the eye shows no fundus or no finding is given.
        why: Why there are no labels, else "".
        unknown: Keywords that are not understood.
    """

    labels: tuple[int, ...] | None
    why: str
    unknown: tuple[str, ...]


def split_keywords(text: str) -> list[str]:
    """Return the keywords of one eye: lower case, single spaces, without separators."""
    words = re.split("[,\uff0c\u3001;\uff1b]", text)
    return [word for word in (" ".join(w.lower().split()) for w in words) if word]


def class_of(keyword: str) -> str | None:
    """Return the class of a keyword ("N" to "O"), "" for a remark about the photograph, None if unknown."""
    if keyword in _REMARKS | _NO_FUNDUS:
        return ""
    for name, fragments in _FRAGMENTS.items():
        if any(fragment in keyword for fragment in fragments):
            return name
    return "O" if _OTHER.search(keyword) else None


def decode_keywords(text: str) -> EyeFindings:
    """Decode the keywords of one eye.

    An eye is normal (N) only where no disease is named beside it.

    Args:
        text: The cell of the owner's table.

    Returns:
        The labels, or why there are none, and the unknown keywords.
    """
    words = split_keywords(text)
    absent = [word for word in words if word in _NO_FUNDUS]
    classes = {word: class_of(word) for word in words}
    unknown = tuple(word for word, name in classes.items() if name is None)
    if absent:
        return EyeFindings(None, absent[0], unknown)
    found = {name for name in classes.values() if name}
    if found - {"N"}:
        found.discard("N")
    if not found:
        return EyeFindings(None, "no finding given", unknown)
    return EyeFindings(tuple(int(name in found) for name in ODIR_8.classes), "", unknown)


def decode_eyes(
    eyes: pd.DataFrame, flags: Sequence[tuple[int, ...]], file: Path, unknown_keywords: str, notes: list[str]
) -> list[tuple[int, ...] | None]:
    """Decode the keywords of all eyes, check them against the patients' labels, and say what was found.

    A keyword that is not understood counts as O where the owner gives the patient an O.

    Args:
        eyes: One row per eye, with `words`, `ID` and `row`.
        flags: The patient's labels per row, in the order of ODIR_8.
        file: The label file, for messages.
        unknown_keywords: `error` or `skip`.
        notes: Takes the sentences.

    Returns:
        Labels per eye; None for eyes to leave out.

    Raises:
        DataError: If keywords are not understood and `unknown_keywords` is `error`.
    """
    targets: list[tuple[int, ...] | None] = []
    left_out, unknown = Counter[str](), list[str]()
    adopted: set[str] = set()
    for words, patient, row in zip(eyes["words"], flags, eyes["row"], strict=True):
        eye = decode_keywords(words)
        target, why = eye.labels, eye.why
        if eye.unknown and patient[-1] and why not in _NO_FUNDUS:
            adopted.update(eye.unknown)
            target, why = (0, *(target or (0,) * len(patient))[1:-1], 1), ""
        elif eye.unknown and why not in _NO_FUNDUS:
            unknown += [f"{word!r} (row {row})" for word in eye.unknown]
            target, why = None, "unknown keyword"
        targets.append(target)
        left_out.update([why] if target is None else [])
    if unknown and unknown_keywords == "error":
        raise DataError(
            f"{file}: {len(unknown)} diagnostic keywords are not understood: {few(unknown, 10)}; "
            "correct their spelling, or leave these eyes out with data.unknown_keywords=skip"
        )
    if left_out:
        reasons = ", ".join(f"{why}: {n}" for why, n in left_out.most_common())
        notes.append(f"{left_out.total()} eyes left out ({reasons})")
    if adopted:
        notes.append(f"keywords taken as O because the owner's label says so: {few(sorted(adopted), 10)}")
    _compare_with_patients(eyes, flags, targets, notes)
    return targets


def _compare_with_patients(
    eyes: pd.DataFrame, flags: Sequence[tuple[int, ...]], targets: Sequence[tuple[int, ...] | None], notes: list[str]
) -> None:
    """Say how many patients have other diseases by their eyes' keywords than by the owner's label."""
    told: dict[str, set[int]] = {}
    decoded: dict[str, set[int]] = {}
    partial = set()
    for patient, flag, target in zip(eyes["ID"], flags, targets, strict=True):
        told.setdefault(patient, set()).update(i for i, v in enumerate(flag) if v and i)
        decoded.setdefault(patient, set()).update(i for i, v in enumerate(target or ()) if v and i)
        if target is None:
            partial.add(patient)
    differing = [p for p in told if p not in partial and told[p] != decoded[p]]
    if differing:
        notes.append(
            f"the keywords of {len(differing)} patients name other diseases than the owner's label per patient "
            f"(ID {few(differing)}); the keywords count"
        )
