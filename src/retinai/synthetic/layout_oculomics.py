"""A cohort of persons whose outcome depends on their vessels: `table.csv`, `photographs/`, `vessels/`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from retinai.errors import UserError
from retinai.files import write_text
from retinai.synthetic.photograph import Findings, Photograph, VesselTraits, encode
from retinai.synthetic.shots import Facts, Plan, Shot, plan_rng

TABLE = "table.csv"
_COLUMNS = ("id", "path", "target", "patient", "eye", "age", "sex", "artery_width", "vein_width", "tortuosity",
            "log_odds")  # fmt: skip
_PHOTOGRAPHS = (2, 3, 4)  # of a person; right and left eyes take turns
# Widths in radii of the field of view, and how far persons and the photographs of one person spread (of the logarithm).
_ARTERY, _VEIN, _TORTUOSITY = (0.0162, 0.18), (0.0218, 0.06), (0.95, 0.3)
_WITHIN = 0.03
_AGE = (60.0, 9.0)
_AGE_ON_ARTERY, _AGE_ON_TORTUOSITY = -0.3, 0.2  # age narrows arteries and makes vessels wind: confounding


@dataclass(frozen=True)
class LogOdds:
    """What the logarithm of the odds of the outcome rises by.

    Args:
        artery: Per standard deviation of the persons' artery width.
        tortuosity: Per standard deviation of how much their vessels wind.
        age: Per standard deviation of their age (9 years).
        male: For men over women.

    Raises:
        UserError: If one is no finite number.
    """

    artery: float = -1.2
    tortuosity: float = 0.8
    age: float = 0.5
    male: float = 0.4

    def __post_init__(self) -> None:
        wrong = [field.name for field in fields(self) if not np.isfinite(getattr(self, field.name))]
        if wrong:
            raise UserError(f"log_odds.{wrong[0]}={getattr(self, wrong[0])} is no finite number")


@dataclass(frozen=True)
class Person:
    """One person.

    Args:
        age: In years.
        male: Or female.
        artery: Artery width in standard deviations from the mean person's.
        tortuosity: How much the vessels wind, in the same unit.
        vein: Vein width, in the same unit; the outcome does not depend on it.
        log_odds: Of the outcome.
        outcome: 0 or 1, drawn with these odds.
    """

    age: float
    male: bool
    artery: float
    tortuosity: float
    vein: float
    log_odds: float
    outcome: int


def draw_persons(rng: np.random.Generator, count: int, log_odds: LogOdds) -> list[Person]:
    """Return persons, of whom about half have the outcome.

    Args:
        rng: Source of randomness.
        count: How many.
        log_odds: What the outcome depends on.
    """
    persons = []
    for _ in range(count):
        age, artery, tortuosity, vein = rng.standard_normal(4)
        artery = _AGE_ON_ARTERY * age + np.sqrt(1 - _AGE_ON_ARTERY**2) * artery
        tortuosity = _AGE_ON_TORTUOSITY * age + np.sqrt(1 - _AGE_ON_TORTUOSITY**2) * tortuosity
        male = bool(rng.random() < 0.5)
        value = log_odds.artery * artery + log_odds.tortuosity * tortuosity + log_odds.age * age
        value += log_odds.male * (male - 0.5)
        outcome = int(rng.random() < 1 / (1 + np.exp(-value)))
        years = float(np.clip(_AGE[0] + _AGE[1] * age, 18, 95))
        persons.append(Person(years, male, float(artery), float(tortuosity), float(vein), float(value), outcome))
    return persons


def plan_oculomics(n: int, size: int, seed: int, log_odds: LogOdds | None = None) -> Plan:
    """Plan `n` photographs, two to four of each person, without lesions.

    Args:
        n: Photographs.
        size: Side of the square photographs in pixels.
        seed: Seed of the cohort.
        log_odds: What the outcome depends on; None: the default.
    """
    rng = plan_rng(seed)
    persons = draw_persons(rng, n, log_odds or LogOdds())  # more than will be needed
    shots: list[Shot] = []
    rows: list[dict[str, Any]] = []
    for number, person in enumerate(persons, start=1):
        for view in range(min(int(rng.choice(_PHOTOGRAPHS)), n - len(shots))):
            mirrored = view % 2 == 1
            eye = "left" if mirrored else "right"
            name = f"{number:05d}_{eye}_{view // 2 + 1}"
            traits = _traits(rng, person)
            findings = Findings(vessels=traits)
            path = f"photographs/{name}.jpg"
            writer = ClassMapWriter(name)
            shots.append(Shot(len(shots), (path,), findings, "square", size, mirrored, writer))
            rows.append(_row(number, person, name, path, eye, traits))
        if len(shots) == n:
            break

    def finish(folder: Path, facts: Sequence[Facts]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(folder / TABLE, text.getvalue())

    return Plan(shots, finish)


class ClassMapWriter:
    """Writes the true vessels of a photograph: 0 none, 1 artery, 2 vein, 3 both.

    Args:
        name: The photograph's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, photograph: Photograph, folder: Path) -> None:
        """Write `vessels/<name>.png` below the cohort's folder."""
        file = folder / "vessels" / f"{self.name}.png"
        file.parent.mkdir(exist_ok=True)
        classes = photograph.masks["artery"] * np.uint8(1) + photograph.masks["vein"] * np.uint8(2)
        file.write_bytes(encode(classes.astype(np.uint8), ".png"))


def read_log_odds(values: Mapping[str, Any] | None) -> LogOdds:
    """Return what the outcome depends on, from the keys of `log_odds`; one that is missing keeps its default."""
    return LogOdds(**{str(key): float(value) for key, value in (values or {}).items()})


def _traits(rng: np.random.Generator, person: Person) -> VesselTraits:
    """Return the vessels of one photograph of a person."""

    def drawn(mean: float, spread: float, deviations: float) -> float:
        return float(mean * np.exp(spread * np.clip(deviations, -2.5, 2.5) + _WITHIN * rng.standard_normal()))

    return VesselTraits(
        drawn(*_ARTERY, person.artery), drawn(*_VEIN, person.vein), drawn(*_TORTUOSITY, person.tortuosity)
    )


def _row(number: int, person: Person, name: str, path: str, eye: str, traits: VesselTraits) -> dict[str, Any]:
    return {
        "id": name,
        "path": path,
        "target": person.outcome,
        "patient": f"P{number:05d}",
        "eye": eye,
        "age": round(person.age, 1),
        "sex": "male" if person.male else "female",
        "artery_width": round(traits.artery_width, 6),
        "vein_width": round(traits.vein_width, 6),
        "tortuosity": round(traits.tortuosity, 4),
        "log_odds": round(person.log_odds, 4),
    }
