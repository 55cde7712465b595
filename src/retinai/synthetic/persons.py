"""What the photographs of one person share, whichever eye and whatever disease: vessels, pigment, age, camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Person:
    """A person whose two eyes look alike.

    Args:
        age: Age in years; an older lens is yellower and scatters more light.
        pigment: Pigment of the retina, 0 (pale orange) to 1 (deep red-brown).
        tint: Factor of the background's colour per RGB channel.
        artery_width: Width of a main artery in radii of the field of view.
        vein_width: Width of a main vein in radii.
        tortuosity: How much the vessels wind, about 1.
        tessellation: Visibility of the choroid's vessels, 0 to 1.
        camera: The camera of the visit, a key of `devices.CAMERAS`.
    """

    age: int
    pigment: float
    tint: tuple[float, float, float]
    artery_width: float
    vein_width: float
    tortuosity: float
    tessellation: float
    camera: str

    @property
    def lens_haze(self) -> float:
        """Haze of a healthy lens of this age, 0 to 0.08; a cataract has 0.4 or more."""
        return 0.002 * max(0, self.age - 50)

    @property
    def lens_blue(self) -> float:
        """Share of blue light that the lens of this age lets through, relative to that of a person of 40."""
        return 1 - 0.006 * max(0, self.age - 40)


def draw_person(rng: np.random.Generator, age: int, camera: str) -> Person:
    """Return a person of an age, photographed by a camera.

    Args:
        rng: Source of randomness.
        age: Age in years.
        camera: Key of `devices.CAMERAS`.
    """
    tint = rng.uniform([0.95, 0.88, 0.75], [1.05, 1.12, 1.3])
    return Person(
        age=age,
        pigment=float(rng.uniform(0, 1)),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        artery_width=float(rng.uniform(0.0145, 0.018)),
        vein_width=float(rng.uniform(0.0195, 0.024)),
        tortuosity=float(rng.uniform(0.5, 1.4)),
        tessellation=float(np.clip(rng.uniform(-0.3, 0.4), 0, 1)),
        camera=camera,
    )
