"""Signs of the diseases beside DR, as lesions: AMD, occluded veins, scars; and the wedge that glaucoma leaves."""

from __future__ import annotations

import math

import numpy as np

from retinai.synthetic.anatomy import Eye
from retinai.synthetic.camera import Frame
from retinai.synthetic.canvas import Floats, blur, falloff
from retinai.synthetic.grading import LesionPainter
from retinai.synthetic.lesions import Kind, Lesion, ragged_outline


def macular_degeneration(painter: LesionPainter, drusen: int, wet: bool) -> list[Lesion]:
    """Return many large, merging drusen with clumps of pigment; at times atrophy, or blood under the macula.

    Source: Ferris et al., "Clinical classification of age-related macular degeneration", Ophthalmology 2013.

    Args:
        painter: Draws lesions in this eye.
        drusen: Number of drusen.
        wet: Also haemorrhages and exudates of new vessels under the macula.
    """
    rng = painter.rng
    items = painter.drusen(drusen, 0.03)
    items += [_spot(painter, "pigment_clump", 0.03, 0.2, 0.012, 0.024) for _ in range(int(rng.integers(2, 7)))]
    if rng.random() < 0.25:
        items += [_spot(painter, "atrophy", 0.0, 0.1, 0.07, 0.13)]
    if wet:
        items += [_spot(painter, "haemorrhage", 0.05, 0.2, 0.04, 0.09) for _ in range(int(rng.integers(1, 4)))]
        items += painter.hard_exudates(1, near=True)
    return items


def scars(painter: LesionPainter, count: int) -> list[Lesion]:
    """Return chorioretinal atrophy: pale round scars with dark pigment on their edge."""
    items: list[Lesion] = []
    for _ in range(count):
        scar = _spot(painter, "atrophy", 0.25, 0.85, 0.05, 0.1)
        items.append(scar)
        for corner in scar.outline[:: int(painter.rng.integers(3, 6))]:
            outline = ragged_outline(painter.rng, corner, float(painter.rng.uniform(0.008, 0.016)), roughness=0.3)
            items.append(Lesion("pigment_clump", (float(corner[0]), float(corner[1])), outline, 0.9))
    return items


def occluded_vein(painter: LesionPainter) -> list[Lesion]:
    """Return the occlusion of a branch vein: flame haemorrhages and cotton-wool spots, all in one quadrant."""
    rng, eye = painter.rng, painter.eye
    up = -1.0 if rng.random() < 0.5 else 1.0
    items: list[Lesion] = []
    for _ in range(int(rng.integers(45, 75))):
        # Between the disc and the far end of an arcade.
        along, away = float(rng.uniform(0.2, 1.1)), float(rng.uniform(0.12, 0.65))
        centre = np.array([eye.disc[0] - along, eye.disc[1] + up * away])
        if not painter.frame.visible(centre)[0] or math.dist(centre, eye.fovea) < 0.08:
            continue
        turn = math.atan2(centre[1] - eye.disc[1], centre[0] - eye.disc[0])
        outline = ragged_outline(rng, centre, float(rng.uniform(0.01, 0.022)), float(rng.uniform(2, 4)), turn, 0.3)
        items.append(Lesion("haemorrhage", (float(centre[0]), float(centre[1])), outline, float(rng.uniform(0.7, 1))))
    for _ in range(int(rng.integers(1, 4))):
        centre = np.array([eye.disc[0] - rng.uniform(0.3, 0.8), eye.disc[1] + up * rng.uniform(0.25, 0.5)])
        outline = ragged_outline(rng, centre, float(rng.uniform(0.026, 0.042)), 1.5, 0.0, 0.25)
        items.append(Lesion("soft_exudate", (float(centre[0]), float(centre[1])), outline, float(rng.uniform(0.75, 1))))
    return items


def hard_drusen(painter: LesionPainter, age: int) -> list[Lesion]:
    """Return the few small drusen that a healthy macula gathers with age; fewer and smaller than any disease has."""
    count = int(painter.rng.poisson(0.04 * max(0, age - 50)))
    return [_spot(painter, "drusen", 0.08, 0.5, 0.005, 0.008) for _ in range(min(count, 4))]


def paint_wedge(rng: np.random.Generator, retina: Floats, eye: Eye, frame: Frame) -> Floats:
    """Paint a lost bundle of nerve fibres: a darker wedge from the disc's rim along an arcade.

    Args:
        rng: Source of randomness.
        retina: Background, RGB of shape (H, W, 3).
        eye: Anatomy.
        frame: Where the field of view lies.
    """
    x, y = frame.grid()
    up = float(rng.choice([-1.0, 1.0]))
    # The bundles arch: their angle from the temporal side falls with the distance from the disc.
    distance = np.hypot(x - eye.disc[0], y - eye.disc[1])
    angle = np.arctan2(up * (y - eye.disc[1]), -(x - eye.disc[0]))
    middle = float(rng.uniform(0.95, 1.2)) - 0.35 * distance
    width = float(rng.uniform(0.1, 0.18))
    wedge = falloff(np.abs(angle - middle).astype(np.float32), width, 0.08)
    wedge *= falloff(distance, 1.0, 0.5) * (distance > 0.95 * eye.disc_radius)
    depth = blur(np.asarray(wedge, dtype=np.float32), 1.0)[..., None] * np.float32(rng.uniform(0.18, 0.3))
    return np.asarray(retina * np.exp(-depth * np.array([0.8, 1.1, 1.0], dtype=np.float32)), dtype=np.float32)


def paint_excavation(rng: np.random.Generator, retina: Floats, eye: Eye, frame: Frame) -> Floats:
    """Paint a deep cup over the vessels: a white pit in which they fade, with a thin and darker rim around it.

    Args:
        rng: Source of randomness.
        retina: Retina with disc and vessels, RGB of shape (H, W, 3).
        eye: Anatomy, with a large cup.
        frame: Where the field of view lies.
    """
    x, y = frame.grid()
    distance = np.hypot((x - eye.disc[0]) / (0.9 * eye.disc_radius), (y - eye.disc[1]) / eye.disc_radius)
    pit = falloff(np.asarray(distance, dtype=np.float32), eye.cup_to_disc, 0.1)
    rim = falloff(np.asarray(distance, dtype=np.float32), 1.05, 0.12) * (1 - pit)
    retina = retina * np.exp(-(rim * np.float32(0.3))[..., None] * np.array([0.4, 1.0, 1.1], dtype=np.float32))
    white = np.array([262, 246, 208], dtype=np.float32) * np.float32(rng.uniform(0.92, 1.02))
    return np.asarray(retina + (np.float32(0.7) * pit)[..., None] * (white - retina), dtype=np.float32)


def _spot(painter: LesionPainter, kind: Kind, low: float, high: float, smallest: float, largest: float) -> Lesion:
    """Return one round spot at a distance of `low` to `high` from the fovea."""
    rng = painter.rng
    centre = painter.near_fovea(low, high)
    outline = ragged_outline(rng, centre, float(rng.uniform(smallest, largest)), roughness=0.2)
    return Lesion(kind, (float(centre[0]), float(centre[1])), outline, float(rng.uniform(0.75, 1)))
