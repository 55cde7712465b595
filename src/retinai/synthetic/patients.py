"""Patients for ODIR's layouts: two eyes each, with findings, diagnostic keywords and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retinai.synthetic.photograph import Findings
from retinai.tasks.known import ODIR_8

# Share of patients by their main disease; ODIR's own are .33 .32 .06 .06 .05 .03 .05 .28 with more than one each.
_SHARES = {"N": 0.30, "D": 0.24, "G": 0.09, "C": 0.08, "A": 0.08, "H": 0.06, "M": 0.07, "O": 0.08}
_RETINOPATHY = (
    "mild nonproliferative retinopathy",
    "moderate non proliferative retinopathy",
    "severe nonproliferative retinopathy",
    "proliferative diabetic retinopathy",
)
_OTHERS = ("drusen", "macular epiretinal membrane", "myelinated nerve fibers", "laser spot")
# Remarks about a photograph, which say nothing of a disease.
_REMARKS = ("lens dust", "image offset")


@dataclass(frozen=True)
class EyeRecord:
    """One eye: what it has, what its keywords say, and the classes of those keywords.

    Args:
        findings: What is drawn.
        keywords: The owner's words for it.
        classes: Letters of ODIR_8.
    """

    findings: Findings
    keywords: tuple[str, ...]
    classes: frozenset[str]

    @property
    def text(self) -> str:
        """The cell of the owner's table: keywords joined by a full-width comma."""
        return "\uff0c".join(self.keywords)


@dataclass(frozen=True)
class Patient:
    """One patient.

    Args:
        number: The owner's ID.
        age: Age in years.
        sex: `Female` or `Male`.
        eyes: Left and right eye.
    """

    number: int
    age: int
    sex: str
    eyes: tuple[EyeRecord, EyeRecord]

    @property
    def flags(self) -> list[int]:
        """The owner's labels 0/1 in the order of ODIR_8: of any eye, and N where both eyes are normal."""
        found = (self.eyes[0].classes | self.eyes[1].classes) - {"N"}
        return [int(name in found if name != "N" else not found) for name in ODIR_8.classes]


def draw_patients(rng: np.random.Generator, count: int) -> list[Patient]:
    """Return patients with ascending numbers that skip some, each disease at least once.

    Args:
        rng: Source of randomness.
        count: Number of patients, at least 8.
    """
    from retinai.synthetic.shots import shares

    names = list(_SHARES)
    numbers = np.cumsum(rng.integers(1, 4, count))
    patients = []
    for number, disease in zip(numbers, shares(rng, count, list(_SHARES.values())), strict=True):
        eyes = [_draw_eye(rng, names[disease])]
        # Most diseases are in both eyes, some in one.
        eyes.append(_draw_eye(rng, names[disease] if rng.random() < 0.65 else "N"))
        order = rng.permutation(2)
        age, sex = int(np.clip(rng.normal(58, 12), 14, 91)), str(rng.choice(["Female", "Male"]))
        patients.append(Patient(int(number), age, sex, (eyes[int(order[0])], eyes[int(order[1])])))
    return patients


def _draw_eye(rng: np.random.Generator, disease: str) -> EyeRecord:
    """Return an eye with one disease, sometimes two, sometimes with a remark about its photograph."""
    findings, keywords, classes = _describe(rng, disease)
    if disease in "DH" and rng.random() < 0.12:
        findings["haze"] = float(rng.uniform(0.42, 0.6))
        keywords.append("cataract")
        classes.append("C")
    remark = rng.random()
    if remark < 0.05:
        keywords.insert(0, str(rng.choice(_REMARKS)))
    elif remark < 0.07 and disease != "N":
        findings.setdefault("haze", 0.5)
        keywords.append("low image quality")
    return EyeRecord(Findings(**findings), tuple(keywords), frozenset(classes))  # type: ignore[arg-type]


def _describe(rng: np.random.Generator, disease: str) -> tuple[dict[str, object], list[str], list[str]]:
    """Return findings, keywords and classes of an eye with one disease."""
    findings: dict[str, object] = {}
    word = "normal fundus"
    if disease == "D":
        grade = int(rng.choice([1, 2, 2, 3, 4]))
        findings, word = {"grade": grade}, _RETINOPATHY[grade - 1]
    elif disease == "G":
        findings, word = {"cup_to_disc": float(rng.uniform(0.72, 0.9))}, "glaucoma"
    elif disease == "C":
        findings, word = {"haze": float(rng.uniform(0.42, 0.7))}, "cataract"
    elif disease == "A":
        findings = {"drusen": int(rng.integers(35, 80)), "large_drusen": True}
        word = "dry age-related macular degeneration"
    elif disease == "H":
        findings, word = {"hypertension": True}, "hypertensive retinopathy"
    elif disease == "M":
        findings, word = {"myopia": True}, "pathological myopia"
    elif disease == "O":
        word = str(rng.choice(_OTHERS))
        others: dict[str, dict[str, object]] = {
            "drusen": {"drusen": int(rng.integers(12, 26))},
            "macular epiretinal membrane": {"membrane": True},
            "myelinated nerve fibers": {"nerve_fibres": True},
            "laser spot": {"laser_spots": int(rng.integers(30, 70))},
        }
        findings = others[word]
    return dict(findings), [word], [disease]


def flags_of(classes: frozenset[str], names: Sequence[str]) -> list[int]:
    """Return 0/1 per name."""
    return [int(name in classes) for name in names]
