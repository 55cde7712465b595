"""The camera: how the field of view lies in the frame, and what light, lens and sensor do to the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from retinai.synthetic.canvas import Floats, Points, blur, falloff, smooth_noise

# Shapes of frames: (height / width, lowest and highest FOV diameter / height, centre of the FOV / width).
# A diameter above the height is a field of view that is cut at top and bottom.
FRAMES: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "aptos": ((1.0, 0.96, 0.99, 0.5), (0.757, 0.97, 0.99, 0.5), (0.757, 1.10, 1.24, 0.5), (0.664, 1.08, 1.2, 0.5)),
    "idrid": ((2848 / 4288, 1.17, 1.21, 0.465),),
    "canon": ((0.75, 0.96, 0.99, 0.5), (0.667, 1.02, 1.1, 0.5)),
    "zeiss": ((0.667, 1.02, 1.2, 0.5),),
    "kowa": ((1.0, 0.96, 0.99, 0.5), (0.75, 0.96, 0.99, 0.49)),
    "topcon": ((0.75, 1.02, 1.12, 0.51),),
    "square": ((1.0, 0.97, 0.995, 0.5),),
}


@dataclass(frozen=True)
class Frame:
    """Where the field of view lies in the frame; the bridge from eye coordinates to pixels.

    Eye coordinates are those of a right eye: the centre of the field of view is (0, 0), its radius
    is 1, x grows towards the optic disc and y downwards. A left eye is the mirror image.

    Args:
        height: Rows of the frame in pixels.
        width: Columns of the frame in pixels.
        centre: Centre of the field of view (x, y) in pixels.
        radius: Radius of the field of view in pixels.
        mirrored: True for a left eye.
    """

    height: int
    width: int
    centre: tuple[float, float]
    radius: float
    mirrored: bool

    def to_pixels(self, points: Points, scale: float = 1.0) -> Points:
        """Return pixel coordinates of points (K, 2) in eye coordinates, on a canvas `scale` times the frame."""
        sign = np.array([-1.0 if self.mirrored else 1.0, 1.0])
        # Half a pixel: the middle of the first pixel lies at 0.5 on the enlarged canvas.
        return (np.asarray(self.centre) + 0.5 + np.asarray(points) * sign * self.radius) * scale - 0.5

    def grid(self) -> tuple[Floats, Floats]:
        """Return the eye coordinates x and y of every pixel, each of shape (height, width)."""
        sign = -1.0 if self.mirrored else 1.0
        x = (np.arange(self.width, dtype=np.float32) - np.float32(self.centre[0])) * np.float32(sign / self.radius)
        y = (np.arange(self.height, dtype=np.float32) - np.float32(self.centre[1])) / np.float32(self.radius)
        return np.tile(x, (self.height, 1)), np.tile(y[:, None], (1, self.width))

    def visible(self, points: Points, margin: float = 0.06) -> npt.NDArray[np.bool_]:
        """Return which points (K, 2) lie inside the field of view and the frame, with a margin in radii."""
        points = np.atleast_2d(points)
        top, bottom = -self.centre[1] / self.radius, (self.height - 1 - self.centre[1]) / self.radius
        inside = np.hypot(points[:, 0], points[:, 1]) < 1 - margin
        return np.asarray(inside & (points[:, 1] > top + margin) & (points[:, 1] < bottom - margin))


def draw_frame(rng: np.random.Generator, style: str, size: int, mirrored: bool) -> Frame:
    """Return a frame of one of a data set's cameras.

    Args:
        rng: Source of randomness.
        style: Key of `FRAMES`.
        size: Longer side of the frame in pixels.
        mirrored: True for a left eye.
    """
    shapes = FRAMES[style]
    ratio, low, high, across = shapes[int(rng.integers(len(shapes)))]
    height = round(size * ratio)
    radius = height * float(rng.uniform(low, high)) / 2
    centre = ((size - 1) * across, (height - 1) / 2 + float(rng.uniform(-0.004, 0.004)) * height)
    return Frame(height, size, centre, radius, mirrored)


@dataclass(frozen=True)
class Exposure:
    """What light, lens and sensor do to one photograph.

    Args:
        gain: Exposure per RGB channel, about 1.
        vignette: Loss of light at the edge, 0 to 1.
        tilt: Slope of the illumination along x and y, per radius.
        haze: Share of scattered light, 0 (clear) to 1 (nothing else); a cataract has 0.4 or more.
        sharpness: Blur of the lens in radii.
        noise: Standard deviation of the sensor's noise, on a scale of 0 to 255.
        crescent: Strength of a pale reflex along one side of the edge, 0 to 1.
        dust: Number of specks on the lens.
    """

    gain: tuple[float, float, float]
    vignette: float
    tilt: tuple[float, float]
    haze: float
    sharpness: float
    noise: float
    crescent: float
    dust: int


def draw_exposure(rng: np.random.Generator, haze: float = 0.0) -> Exposure:
    """Return the exposure of one photograph; it does not depend on the grade.

    Args:
        rng: Source of randomness.
        haze: Haze of the eye's own media, added to that of the photograph.
    """
    level = rng.uniform(0.82, 1.12)
    gain = level * rng.uniform([0.94, 0.88, 0.72], [1.06, 1.12, 1.2])
    return Exposure(
        gain=(float(gain[0]), float(gain[1]), float(gain[2])),
        vignette=float(rng.uniform(0.15, 0.5)),
        tilt=(float(rng.normal(0, 0.1)), float(rng.normal(0, 0.08))),
        haze=float(np.clip(haze + abs(rng.normal(0, 0.06)), 0, max(0.8, haze))),
        sharpness=float(rng.uniform(0.0015, 0.004) + 0.012 * haze),
        noise=float(rng.uniform(1.0, 3.2)),
        crescent=float(max(0.0, rng.uniform(-1.2, 0.8))),
        dust=int(rng.poisson(1.2)),
    )


def expose(rng: np.random.Generator, retina: Floats, frame: Frame, exposure: Exposure) -> npt.NDArray[np.uint8]:
    """Return the photograph of a retina.

    Args:
        rng: Source of randomness.
        retina: Reflectance as RGB, shape (H, W, 3), 0 to 255, float32.
        frame: Where the field of view lies.
        exposure: What light, lens and sensor do.

    Returns:
        Photograph as RGB, shape (H, W, 3), uint8; black outside the field of view.
    """
    x, y = frame.grid()
    distance = np.hypot(x, y)
    light = (1 - exposure.vignette * distance**2.5) * (1 + exposure.tilt[0] * x + exposure.tilt[1] * y)
    picture = blur(retina, exposure.sharpness * frame.radius)
    if exposure.haze > 0.01:
        picture = _scatter(picture, frame, exposure.haze)
    gain = np.asarray(exposure.gain, dtype=np.float32)
    picture = np.asarray(picture * light[..., None] * gain, dtype=np.float32)
    picture = _reflexes(rng, picture, frame, exposure, (x, y, distance))
    noise = rng.standard_normal(picture.shape[:2], dtype=np.float32)[..., None] * np.float32(exposure.noise)
    picture += noise * np.array([0.8, 1.0, 1.2], dtype=np.float32)
    inside = falloff(distance, 1.0, 2.0 / frame.radius)[..., None]
    return np.asarray(np.clip(picture * inside + 2.0 * (1 - inside), 0, 255).astype(np.uint8))


def _scatter(picture: Floats, frame: Frame, haze: float) -> Floats:
    """Mix in scattered light: a wide blur of the picture itself, paler and greyer than it."""
    veil = blur(picture, 0.12 * frame.radius)
    pale = 0.55 * veil + 0.45 * np.array([165, 140, 115], dtype=np.float32)
    return np.asarray(picture * (1 - haze) + pale * haze, dtype=np.float32)


def _reflexes(
    rng: np.random.Generator,
    picture: Floats,
    frame: Frame,
    exposure: Exposure,
    grid: tuple[Floats, Floats, Floats],
) -> Floats:
    """Add what is no part of the eye: a pale crescent at the edge and specks of dust."""
    x, y, distance = grid
    turn = float(rng.uniform(0, 2 * np.pi))
    if exposure.crescent > 0:
        side = np.clip(x * np.cos(turn) + y * np.sin(turn), 0, 1) ** 3
        edge = falloff(1 - distance, 0.04, 0.2)
        glare = (exposure.crescent * 70 * side * edge).astype(np.float32)
        picture = picture + glare[..., None] * np.array([0.9, 1, 1], dtype=np.float32)
    specks = np.zeros(picture.shape[:2], dtype=np.float32)
    for _ in range(exposure.dust):
        place = frame.to_pixels(rng.uniform(-0.7, 0.7, (1, 2)))[0]
        radius = max(1.0, float(rng.uniform(0.012, 0.03)) * frame.radius)
        cv2.circle(
            specks, (round(float(place[0])), round(float(place[1]))), round(radius), float(rng.uniform(-9, 14)), -1
        )
    return np.asarray(picture + blur(specks, 0.012 * frame.radius)[..., None], dtype=np.float32)


def tissue_noise(rng: np.random.Generator, frame: Frame) -> Floats:
    """Return the fine mottling of the pigment epithelium, shape (H, W), standard deviation about 1."""
    fine = smooth_noise(rng, frame.height, frame.width, 90)
    coarse = smooth_noise(rng, frame.height, frame.width, 14)
    return np.asarray(0.55 * fine + 0.8 * coarse, dtype=np.float32)
