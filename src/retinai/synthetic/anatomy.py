"""The eye without its vessels and lesions: background, optic disc with its cup, macula."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from retinai.synthetic.camera import Frame, tissue_noise
from retinai.synthetic.canvas import Floats, blur, falloff, smooth_noise
from retinai.synthetic.persons import Person


@dataclass(frozen=True)
class Eye:
    """Anatomy of one eye, in eye coordinates (see `Frame`): unit = radius of the field of view.

    Args:
        disc: Centre of the optic disc.
        disc_radius: Vertical radius of the optic disc; one disc diameter is twice that.
        cup_to_disc: Vertical cup-to-disc ratio, 0.1 to 0.9.
        fovea: Centre of the fovea.
        colour: Colour of the background as RGB, 0 to 255.
        tessellation: Visibility of the choroid's vessels, 0 to 1.
        atrophy: Width of the pale crescent beside the disc in disc radii (myopia), 0 for none.
        artery_width: Width of a main artery in radii.
        vein_width: Width of a main vein in radii.
        tortuosity: How much the vessels wind, about 1.
    """

    disc: tuple[float, float]
    disc_radius: float
    cup_to_disc: float
    fovea: tuple[float, float]
    colour: tuple[float, float, float]
    tessellation: float
    atrophy: float
    artery_width: float
    vein_width: float
    tortuosity: float


def draw_eye(
    rng: np.random.Generator,
    cup_to_disc: float | None = None,
    myopia: bool = False,
    hypertension: bool = False,
    person: Person | None = None,
) -> Eye:
    """Return the anatomy of one eye.

    The disc lies about 15.5 degrees from the fovea, which in a photograph of 45 degrees is 0.69
    radii, and its diameter is about 5.5 degrees, 0.25 radii.

    Args:
        rng: Source of randomness.
        cup_to_disc: Vertical cup-to-disc ratio; None draws a healthy one (0.2 to 0.5).
        myopia: Tessellated background and a pale crescent beside the disc.
        hypertension: Narrow arteries that wind more.
        person: Whose eye it is: pigment and vessels are then that person's, up to what differs from eye to eye.
    """
    fovea = np.array([-0.14, 0.03]) + rng.normal(0, [0.09, 0.04])
    disc = fovea + np.array([rng.uniform(0.64, 0.74), -0.06 + rng.normal(0, 0.03)])
    colour = _background(float(rng.uniform(0, 1)))
    colour = colour * rng.uniform([0.95, 0.88, 0.75], [1.05, 1.12, 1.3])
    ratio = float(rng.uniform(0.2, 0.5)) if cup_to_disc is None else cup_to_disc
    narrow = float(rng.uniform(0.6, 0.75)) if hypertension else 1.0
    eye = Eye(
        disc=(float(disc[0]), float(disc[1])),
        disc_radius=float(rng.uniform(0.12, 0.15)),
        cup_to_disc=ratio,
        fovea=(float(fovea[0]), float(fovea[1])),
        colour=(float(colour[0]), float(colour[1]), float(colour[2])),
        tessellation=float(rng.uniform(0.75, 1.0) if myopia else max(0.0, rng.uniform(-0.3, 0.45))),
        atrophy=float(rng.uniform(0.5, 1.1)) if myopia else 0.0,
        artery_width=float(rng.uniform(0.0145, 0.018)) * narrow,
        vein_width=float(rng.uniform(0.0195, 0.024)),
        tortuosity=float(rng.uniform(0.6, 1.3)) * (1.5 if hypertension else 1.0),
    )
    return eye if person is None else _as_of(rng, eye, person, narrow, myopia, hypertension)


def _as_of(rng: np.random.Generator, eye: Eye, person: Person, narrow: float, myopia: bool, hypertension: bool) -> Eye:
    """Return the eye with its person's pigment and vessels; eyes of one person differ by a few per cent."""
    tint, near = np.asarray(person.tint), rng.normal(1, 0.03, 3)
    colour = _background(person.pigment) * tint * near
    return replace(
        eye,
        colour=(float(colour[0]), float(colour[1]), float(colour[2])),
        tessellation=eye.tessellation if myopia else person.tessellation,
        artery_width=person.artery_width * narrow,
        vein_width=person.vein_width,
        tortuosity=person.tortuosity * (1.3 if hypertension else 1.0),
    )


def _background(pigment: float) -> np.ndarray:
    """Return the colour of a background, from pale orange (0, little pigment) to deep red-brown (1)."""
    return np.array([222.0, 128, 62]) * (1 - pigment) + np.array([172.0, 72, 30]) * pigment


def paint_background(rng: np.random.Generator, eye: Eye, frame: Frame) -> Floats:
    """Return the background with the macula, without disc and vessels, RGB of shape (H, W, 3)."""
    x, y = frame.grid()
    from_fovea = np.hypot(x - eye.fovea[0], y - eye.fovea[1])
    density = 0.035 * tissue_noise(rng, frame) + 0.08 * smooth_noise(rng, frame.height, frame.width, 3)
    density += _choroid(rng, eye, frame, from_fovea)
    # Yellow macular pigment and a taller epithelium darken the centre.
    macula = float(rng.uniform(0.2, 0.42)) * np.exp(-((from_fovea / 0.24) ** 2) / 2)
    fovea = float(rng.uniform(0.1, 0.25)) * np.exp(-((from_fovea / 0.06) ** 2) / 2)
    weights = np.array([0.75, 1.1, 1.0], dtype=np.float32)
    attenuation = density[..., None] * weights + (macula + fovea)[..., None] * np.array([0.8, 1, 0.7], np.float32)
    return np.asarray(np.asarray(eye.colour, dtype=np.float32) * np.exp(-attenuation), dtype=np.float32)


def _choroid(rng: np.random.Generator, eye: Eye, frame: Frame, from_fovea: Floats) -> Floats:
    """Return the density of the choroid's pattern: pale ribbons between darker islands, away from the macula."""
    ridges = 1 - np.abs(smooth_noise(rng, frame.height, frame.width, 16))
    bands = 1 - np.abs(smooth_noise(rng, frame.height, frame.width, 26))
    pattern = np.maximum(ridges, 0.8 * bands) - 0.5
    away = 1 - 0.8 * np.exp(-((from_fovea / 0.35) ** 2))
    return np.asarray(-0.34 * eye.tessellation * pattern * away, dtype=np.float32)


def paint_disc(rng: np.random.Generator, retina: Floats, eye: Eye, frame: Frame) -> tuple[Floats, Floats]:
    """Paint the optic disc with rim, cup and, in myopia, its pale crescent.

    Args:
        rng: Source of randomness.
        retina: Background, RGB of shape (H, W, 3).
        eye: Anatomy.
        frame: Where the field of view lies.

    Returns:
        The background with the disc, and the disc itself (1 inside, 0 outside), shape (H, W).
    """
    x, y = frame.grid()
    dx, dy = (x - eye.disc[0]) / np.float32(0.9 * eye.disc_radius), (y - eye.disc[1]) / np.float32(eye.disc_radius)
    distance = np.hypot(dx, dy)
    if eye.atrophy > 0:
        beside = np.hypot((dx + 0.5 * eye.atrophy) / (1 + 0.7 * eye.atrophy), dy / (1 + 0.35 * eye.atrophy))
        ragged = beside + 0.06 * smooth_noise(rng, frame.height, frame.width, 40)
        retina = _blend(retina, falloff(ragged, 1.0, 0.12) * 0.75, (236, 200, 150))
    glow = np.exp(-np.clip(distance - 1, 0, None) * 1.6) * 0.18
    retina = _blend(retina, glow, (238, 176, 110))
    disc = falloff(distance, 1.0, 0.16)
    tone = float(rng.uniform(0.85, 1.05))
    # The rim is pinker on the nasal side, where the nerve fibres are dense.
    rim = np.array([252.0, 186, 104]) * tone
    retina = _blend(retina, disc * (0.9 - 0.1 * np.clip(dx, -1, 1)), (rim[0], rim[1], rim[2]))
    cup = falloff(np.hypot(dx + 0.06, dy), eye.cup_to_disc, 0.14)
    retina = _blend(retina, cup * 0.85, (268 * tone, 240 * tone, 172 * tone))
    return retina, np.asarray(disc, dtype=np.float32)


def paint_haze_of_membrane(rng: np.random.Generator, retina: Floats, eye: Eye, frame: Frame) -> Floats:
    """Paint an epiretinal membrane: a grey sheen with fine folds over the macula."""
    x, y = frame.grid()
    from_fovea = np.hypot(x - eye.fovea[0], y - eye.fovea[1])
    folds = np.sin(38 * (x * 0.8 + y * 0.6) + 2.5 * smooth_noise(rng, frame.height, frame.width, 7))
    sheen = np.exp(-((from_fovea / 0.27) ** 2)) * (0.38 + 0.16 * folds)
    return _blend(retina, np.clip(sheen, 0, 1), (212, 196, 168))


def paint_nerve_fibres(rng: np.random.Generator, retina: Floats, eye: Eye, frame: Frame) -> Floats:
    """Paint myelinated nerve fibres: a white feathered patch that starts at the disc's edge."""
    x, y = frame.grid()
    turn = float(rng.choice([-1.0, 1.0])) * float(rng.uniform(1.0, 1.7))
    along = (x - eye.disc[0]) * np.cos(turn) + (y - eye.disc[1]) * np.sin(turn)
    across = -(x - eye.disc[0]) * np.sin(turn) + (y - eye.disc[1]) * np.cos(turn)
    angle = np.arctan2(across, along)
    reach = 0.34 + 0.05 * np.sin(23 * angle) + 0.03 * smooth_noise(rng, frame.height, frame.width, 30)
    patch = falloff(np.abs(angle), 0.55, 0.5) * falloff(along, 1.0, 0.3) * falloff(np.hypot(along, across), 0.3, 0.16)
    patch *= falloff(np.hypot(along, across) / reach, 1.0, 0.3) * (np.hypot(along, across) > eye.disc_radius * 0.9)
    return _blend(retina, blur(np.asarray(patch, dtype=np.float32), 1.0) * 0.85, (246, 238, 214))


def _blend(image: Floats, amount: Floats, colour: tuple[float, float, float]) -> Floats:
    return np.asarray(image + amount[..., None] * (np.asarray(colour, dtype=np.float32) - image), dtype=np.float32)
