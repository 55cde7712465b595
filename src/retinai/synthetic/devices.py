"""Cameras of ODIR's kind: frames of their own, and what each does to colour, sharpness and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

from retinai.errors import UserError
from retinai.synthetic.camera import Exposure


@dataclass(frozen=True)
class Camera:
    """What one kind of camera does to every photograph; its frames are in `camera.FRAMES`, under the same name.

    Args:
        gain: Factor of the exposure per RGB channel.
        blur: Factor of the lens's blur.
        noise: Factor of the sensor's noise.
        vignette: Loss of light at the edge that comes on top, 0 to 1.
        flare: Scattered light that comes on top, 0 to 1.
    """

    gain: tuple[float, float, float]
    blur: float = 1.0
    noise: float = 1.0
    vignette: float = 0.0
    flare: float = 0.0


# ODIR's photographs come from cameras of Canon, Zeiss and Kowa; these are drawn ones that differ as makes do.
CAMERAS = {
    "canon": Camera((1.0, 1.0, 1.0)),
    "zeiss": Camera((1.04, 0.9, 0.8), blur=1.3, vignette=0.08),
    "kowa": Camera((0.98, 0.98, 0.9), blur=0.9, noise=1.4, flare=0.02),
    "topcon": Camera((1.03, 0.94, 1.2), blur=1.15, noise=0.8, vignette=0.05, flare=0.03),
}
# Those of `camera=mixed`; a cohort of the one that is left out is from a camera that a network has not seen.
MIXED = ("canon", "zeiss", "kowa")


def cameras_of(name: str) -> tuple[str, ...]:
    """Return the cameras of a cohort: those of `mixed`, or the one of that name.

    Raises:
        UserError: If there is none.
    """
    if name == "mixed":
        return MIXED
    if name not in CAMERAS:
        raise UserError(f"camera={name} is unknown; valid: mixed, {', '.join(CAMERAS)}")
    return (name,)


def through(exposure: Exposure, camera: Camera, lens_blue: float, lens_haze: float) -> Exposure:
    """Return an exposure as a camera takes it, through a lens of some age.

    Args:
        exposure: As chance has it.
        camera: Of `CAMERAS`.
        lens_blue: Share of blue light that the eye's lens lets through, 0 to 1.
        lens_haze: Haze of the eye's lens, 0 to 1.
    """
    red, green, blue = (gain * factor for gain, factor in zip(exposure.gain, camera.gain, strict=True))
    return replace(
        exposure,
        gain=(red, green, blue * lens_blue),
        haze=min(exposure.haze + camera.flare + lens_haze, 0.98),
        sharpness=exposure.sharpness * camera.blur,
        noise=exposure.noise * camera.noise,
        vignette=min(exposure.vignette + camera.vignette, 0.9),
    )
