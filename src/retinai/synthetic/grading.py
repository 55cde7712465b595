"""The international clinical DR scale (ICDR) as a function of lesions, and lesions drawn for a grade.

Source: Wilkinson et al., "Proposed international clinical diabetic retinopathy and diabetic macular
edema disease severity scales", Ophthalmology 2003, 110(9), 1677-1682, tables 1 to 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from retinai.synthetic.anatomy import Eye
from retinai.synthetic.camera import Frame
from retinai.synthetic.canvas import Points
from retinai.synthetic.lesions import Kind, Lesion, Lesions, quadrant, ragged_outline

# More than this many haemorrhages in each of the four quadrants is severe ("4" of the 4-2-1 rule).
_MANY = 20
_PROLIFERATIVE: tuple[Kind, ...] = ("neovascularisation", "preretinal_haemorrhage", "vitreous_haemorrhage")


def icdr_grade(lesions: Lesions) -> int:
    """Return the grade 0 to 4 on the international scale that the lesions of an eye amount to.

    0: no abnormality of DR. 1: microaneurysms only. 2: more than microaneurysms, less than severe.
    3: any of more than 20 haemorrhages in each of four quadrants, venous beading in two or more,
    IRMA in one or more. 4: neovascularisation, preretinal or vitreous haemorrhage.

    Source: Wilkinson et al. 2003, table 2.
    """
    if lesions.of(*_PROLIFERATIVE):
        return 4
    if min(lesions.per_quadrant("haemorrhage")) > _MANY or len(lesions.beaded) >= 2 or lesions.of("irma"):
        return 3
    if lesions.beaded or lesions.of("haemorrhage", "hard_exudate", "soft_exudate"):
        return 2
    return 1 if lesions.of("microaneurysm") else 0


def dme_risk(lesions: Lesions, eye: Eye) -> int:
    """Return the risk of macular oedema as IDRiD grades it.

    0: no hard exudates. 1: hard exudates farther than one disc diameter from the fovea. 2: nearer.

    Source: Porwal et al., "IDRiD", Data 2018, 3(3), 25, table 2.
    """
    exudates = lesions.of("hard_exudate")
    if not exudates:
        return 0
    nearest = min(float(np.hypot(*(lesion.outline - eye.fovea).T).min()) for lesion in exudates)
    return 2 if nearest <= 2 * eye.disc_radius else 1


class LesionPainter:
    """Draws lesions at places where a photograph would show them.

    Args:
        rng: Source of randomness.
        eye: Anatomy.
        frame: Where the field of view lies; lesions keep inside what is seen.
    """

    def __init__(self, rng: np.random.Generator, eye: Eye, frame: Frame) -> None:
        self.rng, self.eye, self.frame = rng, eye, frame

    def place(self, accept: Callable[[Points], np.ndarray] | None = None, margin: float = 0.07) -> Points:
        """Return one place (2,) inside the field of view and off the disc that `accept` agrees to."""
        for _ in range(200):
            points = self.rng.uniform(-1, 1, (64, 2))
            keep = self.frame.visible(points, margin)
            keep &= np.hypot(*(points - self.eye.disc).T) > 1.35 * self.eye.disc_radius
            if accept is not None:
                keep &= accept(points)
            if keep.any():
                return np.asarray(points[int(np.argmax(keep))])
        raise RuntimeError("no place was found for a lesion; the condition leaves no room in the field of view")

    def near_fovea(self, low: float, high: float) -> Points:
        """Return a place whose distance from the fovea lies between `low` and `high`."""
        return self.place(lambda p: _between(np.hypot(*(p - self.eye.fovea).T), low, high))

    def microaneurysms(self, count: int) -> list[Lesion]:
        """Return round dots of 0.009 to 0.014 radii, mostly around the macula (larger than real ones)."""
        lesions = []
        for _ in range(count):
            reach = float(self.rng.choice([0.5, 0.5, 1.2]))
            centre = self.near_fovea(0.08, reach)
            outline = ragged_outline(self.rng, centre, float(self.rng.uniform(0.009, 0.014)), roughness=0.05)
            lesions.append(_lesion("microaneurysm", centre, outline, float(self.rng.uniform(0.75, 1))))
        return lesions

    def haemorrhages(self, count: int, within: int | None = None, largest: float = 0.04) -> list[Lesion]:
        """Return dots, blots and flames; `within` keeps them in one quadrant."""
        lesions = []
        for _ in range(count):
            centre = self.place(
                lambda p: (
                    (np.hypot(*(p - self.eye.fovea).T) > 0.07)
                    & ((quadrant(p, self.eye.fovea) == within) if within is not None else True)
                )
            )
            flame = self.rng.random() < 0.25
            # Small ones are the rule: the cube of a uniform number favours them.
            radius = 0.013 + (largest - 0.013) * float(self.rng.random()) ** 3
            # Flames follow the nerve fibres, which fan out from the disc.
            turn = math.atan2(centre[1] - self.eye.disc[1], centre[0] - self.eye.disc[0])
            aspect = float(self.rng.uniform(2.2, 3.5) if flame else self.rng.uniform(1, 1.5))
            across = radius * (0.55 if flame else 1.0)
            outline = ragged_outline(self.rng, centre, across, aspect, turn, 0.28)
            lesions.append(_lesion("haemorrhage", centre, outline, float(self.rng.uniform(0.6, 1))))
        return lesions

    def hard_exudates(self, clusters: int, near: bool) -> list[Lesion]:
        """Return clusters and rings of small yellow spots; `near` puts the first within a disc diameter."""
        lesions: list[Lesion] = []
        diameter = 2 * self.eye.disc_radius
        for index in range(clusters):
            low, high = (0.04, 0.8 * diameter) if near and index == 0 else (1.9 * diameter, 3.5 * diameter)
            centre = self.near_fovea(low, high)
            ring = self.rng.random() < 0.4
            spread = float(self.rng.uniform(0.04, 0.1))
            for _ in range(int(self.rng.integers(10, 34))):
                angle = float(self.rng.uniform(0, 2 * np.pi))
                reach = spread * (float(self.rng.normal(1, 0.12)) if ring else abs(float(self.rng.normal(0, 0.7))))
                spot = centre + reach * np.array([math.cos(angle), math.sin(angle)])
                outline = ragged_outline(self.rng, spot, 0.006 + 0.012 * float(self.rng.random()) ** 2, 1.3, angle, 0.3)
                if self.frame.visible(outline, 0.01).all():
                    lesions.append(_lesion("hard_exudate", spot, outline, float(self.rng.uniform(0.75, 1))))
        return lesions

    def soft_exudates(self, count: int) -> list[Lesion]:
        """Return cotton-wool spots: pale, feathered, near the arcades."""
        lesions = []
        for _ in range(count):
            centre = self.near_fovea(0.3, 0.8)
            turn = math.atan2(centre[1] - self.eye.disc[1], centre[0] - self.eye.disc[0]) + math.pi / 2
            outline = ragged_outline(self.rng, centre, float(self.rng.uniform(0.026, 0.042)), 1.5, turn, 0.25)
            lesions.append(_lesion("soft_exudate", centre, outline, float(self.rng.uniform(0.75, 1))))
        return lesions

    def irma(self, count: int) -> list[Lesion]:
        """Return tangles of dilated, winding vessels within the retina."""
        return [
            self._tangle("irma", self.near_fovea(0.3, 0.8), float(self.rng.uniform(0.07, 0.11)), 9)
            for _ in range(count)
        ]

    def neovascularisation(self, count: int) -> list[Lesion]:
        """Return fans of fine new vessels, at the disc or elsewhere."""
        lesions = []
        for _ in range(count):
            at_disc = self.rng.random() < 0.4
            edge = self.rng.uniform(0, 2 * np.pi)
            rim = np.array(self.eye.disc) + 0.9 * self.eye.disc_radius * np.array([math.cos(edge), math.sin(edge)])
            centre = rim if at_disc else self.near_fovea(0.35, 0.85)
            extent = float(self.rng.uniform(0.15, 0.26))
            lesions.append(self._tangle("neovascularisation", centre, extent, int(self.rng.integers(26, 42))))
        return lesions

    def preretinal_haemorrhages(self, count: int) -> list[Lesion]:
        """Return boat-shaped pools of blood with a level top."""
        lesions = []
        for _ in range(count):
            centre = self.near_fovea(0.3, 0.75)
            width, depth = float(self.rng.uniform(0.13, 0.3)), float(self.rng.uniform(0.08, 0.17))
            angle = np.linspace(0, np.pi, 18)
            bumps = 1 + 0.06 * self.rng.standard_normal(18)
            hull = np.stack([width * np.cos(angle) * bumps, depth * np.sin(angle) * bumps], axis=1)
            lesions.append(_lesion("preretinal_haemorrhage", centre, hull + centre, float(self.rng.uniform(0.75, 1))))
        return lesions

    def vitreous_haemorrhage(self) -> list[Lesion]:
        """Return diffuse clouds of blood in front of the retina."""
        lesions = []
        for _ in range(int(self.rng.integers(3, 6))):
            centre = self.place()
            outline = ragged_outline(self.rng, centre, float(self.rng.uniform(0.1, 0.22)), 1.6, roughness=0.35)
            lesions.append(_lesion("vitreous_haemorrhage", centre, outline, float(self.rng.uniform(0.45, 0.8))))
        return lesions

    def drusen(self, count: int, largest: float) -> list[Lesion]:
        """Return round, pale yellow spots at the macula."""
        lesions = []
        for _ in range(count):
            centre = self.near_fovea(0.02, 0.4)
            outline = ragged_outline(self.rng, centre, float(self.rng.uniform(0.008, largest)), roughness=0.1)
            lesions.append(_lesion("drusen", centre, outline, float(self.rng.uniform(0.5, 0.95))))
        return lesions

    def laser_spots(self, count: int) -> list[Lesion]:
        """Return pale burns of equal size in the outer retina."""
        lesions = []
        for _ in range(count):
            centre = self.near_fovea(0.5, 1.2)
            outline = ragged_outline(self.rng, centre, float(self.rng.uniform(0.022, 0.03)), roughness=0.12)
            lesions.append(_lesion("laser_spot", centre, outline, float(self.rng.uniform(0.6, 1))))
        return lesions

    def _tangle(self, kind: Kind, centre: Points, extent: float, count: int) -> Lesion:
        """Return winding lines that start at a centre and turn back on themselves within `extent`."""
        facing = float(self.rng.uniform(0, 2 * np.pi))
        spread = 1.0 if kind == "irma" else 1.5
        lines = []
        for _ in range(count):
            heading = facing + float(self.rng.uniform(-spread, spread))
            turns = np.cumsum(self.rng.normal(0, 0.45, 14)) + np.linspace(0, float(self.rng.normal(0, 2.2)), 14)
            step = extent * float(self.rng.uniform(0.6, 1.3)) / 13
            moves = np.stack([np.cos(heading + turns), np.sin(heading + turns)], axis=1) * step
            start = centre + self.rng.normal(0, 0.12 * extent, 2)
            lines.append(np.concatenate([start[None], start + np.cumsum(moves[:-1], axis=0)]))
        hull = ragged_outline(self.rng, np.concatenate(lines).mean(axis=0), 0.6 * extent, roughness=0.1)
        return Lesion(kind, (float(centre[0]), float(centre[1])), hull, float(self.rng.uniform(0.5, 1)), tuple(lines))


def draw_lesions(rng: np.random.Generator, grade: int, eye: Eye, frame: Frame) -> Lesions:
    """Return lesions that amount to a grade on the international scale.

    Args:
        rng: Source of randomness.
        grade: Grade 0 to 4.
        eye: Anatomy.
        frame: Where the field of view lies.

    Raises:
        ValueError: If the grade is not 0 to 4.
    """
    if grade not in range(5):
        raise ValueError(f"the grade must be 0 to 4, got {grade}")
    painter = LesionPainter(rng, eye, frame)
    items: list[Lesion] = []
    beaded: tuple[int, ...] = ()
    if grade == 1:
        items += painter.microaneurysms(int(rng.integers(5, 16)))
    if grade >= 2:
        items += _moderate(rng, painter, heavy=grade == 3)
    if grade == 3:
        severe, beaded = _severe(rng, painter)
        items += severe
    if grade == 4:
        items += _proliferative(rng, painter)
    return Lesions(tuple(items), eye.fovea, beaded)


def _moderate(rng: np.random.Generator, painter: LesionPainter, heavy: bool) -> list[Lesion]:
    """Return the lesions that grades 2 to 4 share: always haemorrhages or exudates, never enough for severe."""
    items = painter.microaneurysms(int(rng.integers(6, 20)))
    items += painter.haemorrhages(int(rng.integers(6, 19)), largest=0.045)
    if rng.random() < 0.7:
        items += painter.hard_exudates(int(rng.integers(1, 4)), near=bool(rng.random() < 0.75))
    if rng.random() < (0.6 if heavy else 0.3):
        items += painter.soft_exudates(int(rng.integers(1, 5)))
    return items


def _severe(rng: np.random.Generator, painter: LesionPainter) -> tuple[list[Lesion], tuple[int, ...]]:
    """Return what makes an eye severe by the 4-2-1 rule; most often the haemorrhages, often more than one sign."""
    signs = rng.random(3) < [0.8, 0.4, 0.45]
    if not signs.any():
        signs[0] = True
    items: list[Lesion] = []
    for number in range(4):
        count = int(rng.integers(_MANY + 1, _MANY + 14)) if signs[0] else int(rng.integers(3, 11))
        items += painter.haemorrhages(count, within=number, largest=0.05)
    beaded = tuple(sorted(int(q) for q in rng.permutation(4)[: rng.integers(2, 5)])) if signs[1] else ()
    return items + (painter.irma(int(rng.integers(1, 4))) if signs[2] else []), beaded


def _proliferative(rng: np.random.Generator, painter: LesionPainter) -> list[Lesion]:
    """Return what makes an eye proliferative: new vessels, blood before the retina or in the vitreous."""
    items = painter.neovascularisation(int(rng.integers(1, 4))) if rng.random() < 0.85 else []
    if not items or rng.random() < 0.5:
        items += painter.preretinal_haemorrhages(int(rng.integers(1, 3)))
    return items + (painter.vitreous_haemorrhage() if rng.random() < 0.2 else [])


def _lesion(kind: Kind, centre: Points, outline: Points, strength: float) -> Lesion:
    return Lesion(kind, (float(centre[0]), float(centre[1])), outline, strength)


def _between(distance: np.ndarray, low: float, high: float) -> np.ndarray:
    return (distance >= low) & (distance <= high)
