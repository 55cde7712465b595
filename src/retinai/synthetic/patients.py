"""Patients for ODIR's layouts: two eyes each, with findings, diagnostic keywords and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retinai.synthetic.keywords import NO_FUNDUS, NO_FUNDUS_SHARE, describe
from retinai.synthetic.persons import Person, draw_person
from retinai.synthetic.photograph import Findings
from retinai.tasks.known import ODIR_8

# Share of patients by the rarest of their diseases. ODIR's are .32 .21 .23 .06 .05 .05 .05 .03: rare diseases are
# more frequent here, because what occurs in four patients of a small cohort can be neither learned nor measured.
_SHARES = {"N": 0.19, "D": 0.15, "O": 0.15, "C": 0.10, "G": 0.11, "A": 0.10, "M": 0.10, "H": 0.10}
# What patients with that disease have, with the number of ODIR's patients who have it (3,358 of them counted).
_TOGETHER: dict[str, dict[str, int]] = {
    "N": {"": 1080},
    "D": {"D": 697},
    "O": {"O": 506, "DO": 262},
    "C": {"C": 143, "DC": 31, "CO": 22, "DCO": 7},
    "G": {"G": 118, "GO": 30, "DG": 22, "DGO": 7},
    "A": {"A": 117, "DA": 14, "AO": 13, "GA": 10},
    "M": {"M": 105, "MO": 39, "DM": 14, "GM": 5},
    "H": {"DH": 44, "H": 36, "HO": 8, "GH": 5, "AH": 4},
}
# Of the patients with a disease, the share of those who have it in both eyes, as ODIR's keywords tell.
_BOTH = {"D": 0.61, "G": 0.54, "C": 0.48, "A": 0.72, "H": 0.87, "M": 0.54, "O": 0.19}
# Age of ODIR's patients by disease (mean, standard deviation), and the share of women among them.
_AGES = {"N": (57, 11), "D": (56, 10), "G": (63, 12), "C": (66, 12), "A": (61, 11), "H": (56, 8), "M": (57, 19),
         "O": (59, 11)}  # fmt: skip
_WOMEN = {"N": 0.44, "D": 0.44, "G": 0.42, "C": 0.58, "A": 0.46, "H": 0.37, "M": 0.64, "O": 0.5}


@dataclass(frozen=True)
class EyeRecord:
    """One eye: what it has, what its keywords say, and the classes of those keywords.

    Args:
        findings: What is drawn.
        keywords: The owner's words for it.
        classes: Letters of ODIR_8; none where the photograph shows no fundus.
        separator: What joins the keywords in the owner's cell.
    """

    findings: Findings
    keywords: tuple[str, ...]
    classes: frozenset[str]
    separator: str = "\uff0c"

    @property
    def text(self) -> str:
        """The cell of the owner's table: keywords joined by a comma, nearly always a full-width one."""
        return self.separator.join(self.keywords)


@dataclass(frozen=True)
class Patient:
    """One patient.

    Args:
        number: The owner's ID.
        age: Age in years.
        sex: `Female` or `Male`.
        eyes: Left and right eye.
        person: What the photographs of both eyes share.
    """

    number: int
    age: int
    sex: str
    eyes: tuple[EyeRecord, EyeRecord]
    person: Person

    @property
    def flags(self) -> list[int]:
        """The owner's labels 0/1 in the order of ODIR_8: of any eye, and N where both eyes are normal."""
        found = (self.eyes[0].classes | self.eyes[1].classes) - {"N"}
        return [int(name in found if name != "N" else not found) for name in ODIR_8.classes]


def draw_patients(rng: np.random.Generator, count: int, cameras: Sequence[str] = ("canon",)) -> list[Patient]:
    """Return patients with ascending numbers that skip some, each disease at least once.

    Diseases occur together, in both eyes, and at an age as in ODIR's table.

    Args:
        rng: Source of randomness.
        count: Number of patients, at least 8.
        cameras: Keys of `devices.CAMERAS`; each patient is photographed by one of them.
    """
    from retinai.synthetic.shots import shares

    names = list(_SHARES)
    numbers = np.cumsum(rng.integers(1, 4, count))
    patients = []
    for number, main in zip(numbers, shares(rng, count, list(_SHARES.values())), strict=True):
        together = _TOGETHER[names[main]]
        weights = np.asarray(list(together.values()), dtype=float)
        diseases = list(together)[int(rng.choice(len(weights), p=weights / weights.sum()))]
        mean, spread = _AGES[names[main]]
        age = int(np.clip(rng.normal(mean, spread), 14, 91))
        sex = "Female" if rng.random() < _WOMEN[names[main]] else "Male"
        person = draw_person(rng, age, str(rng.choice(list(cameras))))
        patients.append(Patient(int(number), age, sex, _draw_eyes(rng, diseases), person))
    return patients


def _draw_eyes(rng: np.random.Generator, diseases: str) -> tuple[EyeRecord, EyeRecord]:
    """Return left and right eye of a patient: each disease is in both of them or in one."""
    classes: tuple[list[str], list[str]] = ([], [])
    for letter in diseases:
        eyes = (0, 1) if rng.random() < _BOTH[letter] else (int(rng.integers(2)),)
        for eye in eyes:
            classes[eye].append(letter)
    left, right = (_draw_eye(rng, letters) for letters in classes)
    # Only an eye without a disease is lost, so that each disease of the plan occurs.
    if not classes[0] and rng.random() < NO_FUNDUS_SHARE:
        left = _unseen(rng)
    elif not classes[1] and rng.random() < NO_FUNDUS_SHARE:
        right = _unseen(rng)
    return left, right


def _draw_eye(rng: np.random.Generator, letters: Sequence[str]) -> EyeRecord:
    findings, words, separator = describe(rng, letters)
    return EyeRecord(findings, words, frozenset(letters or "N"), separator)


def _unseen(rng: np.random.Generator) -> EyeRecord:
    """Return an eye whose photograph shows no fundus: the front of the eye, or nothing."""
    return EyeRecord(Findings(haze=0.98), (str(rng.choice(list(NO_FUNDUS))),), frozenset())


def flags_of(classes: frozenset[str], names: Sequence[str]) -> list[int]:
    """Return 0/1 per name."""
    return [int(name in classes) for name in names]
