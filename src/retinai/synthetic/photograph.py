"""One photograph with its masks, from what the eye is said to have."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from retinai.synthetic import anatomy
from retinai.synthetic.camera import Frame, draw_exposure, draw_frame, expose
from retinai.synthetic.canvas import Floats, blur
from retinai.synthetic.grading import LesionPainter, dme_risk, draw_lesions, icdr_grade
from retinai.synthetic.lesions import KINDS, Kind, Lesions, lesion_map, lesion_masks, paint_lesions
from retinai.synthetic.vessels import VesselMaps, grow_vessels, paint_vessels

# Optical density per RGB channel of a vessel that is as wide as the map's full ink.
_ARTERY = np.array([0.1, 0.52, 0.5], dtype=np.float32)
_VEIN = np.array([0.28, 0.78, 0.7], dtype=np.float32)


@dataclass(frozen=True)
class VesselTraits:
    """How the vessels of an eye are, where chance does not decide it.

    Args:
        artery_width: Width of a main artery in radii of the field of view.
        vein_width: Width of a main vein in the same unit.
        tortuosity: How much the vessels wind, about 1.
    """

    artery_width: float
    vein_width: float
    tortuosity: float


@dataclass(frozen=True)
class Findings:
    """What an eye is said to have; everything else about its photograph is chance.

    Args:
        grade: DR grade 0 to 4.
        cup_to_disc: Vertical cup-to-disc ratio, None for a healthy one; glaucoma has 0.7 or more.
        drusen: Number of drusen.
        large_drusen: Larger, merging drusen, as in age-related macular degeneration.
        haze: Cloudiness of the media, 0 to 0.8; a cataract has 0.4 or more.
        hypertension: Narrow, winding arteries with flame haemorrhages and cotton-wool spots.
        myopia: Tessellated background with a pale crescent beside the disc.
        membrane: Epiretinal membrane.
        nerve_fibres: Myelinated nerve fibres.
        laser_spots: Number of laser burns.
        vessels: How its vessels are; None leaves it to chance.
    """

    grade: int = 0
    cup_to_disc: float | None = None
    drusen: int = 0
    large_drusen: bool = False
    haze: float = 0.0
    hypertension: bool = False
    myopia: bool = False
    membrane: bool = False
    nerve_fibres: bool = False
    laser_spots: int = 0
    vessels: VesselTraits | None = None


@dataclass(frozen=True)
class Photograph:
    """A drawn photograph and everything that is known about it.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        eye: Anatomy.
        frame: Where the field of view lies.
        lesions: The lesions that were drawn.
        masks: Name -> mask of shape (H, W): `artery`, `vein`, `optic_disc`, and each kind of lesion that is there.
        grade: Grade of the lesions on the international scale.
        dme: Risk of macular oedema, 0 to 2.
    """

    image: npt.NDArray[np.uint8]
    eye: anatomy.Eye
    frame: Frame
    lesions: Lesions
    masks: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def grade(self) -> int:
        """Grade of the lesions on the international scale, 0 to 4."""
        return icdr_grade(self.lesions)

    @property
    def dme(self) -> int:
        """Risk of macular oedema as IDRiD grades it, 0 to 2."""
        return dme_risk(self.lesions, self.eye)


def draw_photograph(rng: np.random.Generator, findings: Findings, style: str, size: int, mirrored: bool) -> Photograph:
    """Draw one photograph.

    Args:
        rng: Source of randomness; the same state gives the same bytes.
        findings: What the eye has.
        style: Camera, a key of `camera.FRAMES`.
        size: Longer side in pixels.
        mirrored: True for a left eye.

    Returns:
        The photograph with its masks.
    """
    frame = draw_frame(rng, style, size, mirrored)
    eye = anatomy.draw_eye(rng, findings.cup_to_disc, findings.myopia, findings.hypertension)
    if findings.vessels is not None:
        eye = replace(eye, **asdict(findings.vessels))
    lesions = _draw_all_lesions(rng, findings, eye, frame)
    vessels = paint_vessels(*grow_vessels(rng, eye, lesions.beaded), frame)
    maps: dict[Kind, Floats] = {}
    for kind in KINDS:
        painted = lesion_map(lesions, kind, frame)
        if painted is not None:
            maps[kind] = painted
    retina = anatomy.paint_background(rng, eye, frame)
    retina, disc = anatomy.paint_disc(rng, retina, eye, frame)
    if findings.nerve_fibres:
        retina = anatomy.paint_nerve_fibres(rng, retina, eye, frame)
    retina = _paint_blood(rng, retina, vessels)
    retina = paint_lesions(rng, retina, maps)
    if findings.membrane:
        retina = anatomy.paint_haze_of_membrane(rng, retina, eye, frame)
    image = expose(rng, retina, frame, draw_exposure(rng, findings.haze))
    return Photograph(image, eye, frame, lesions, _masks(vessels, disc, lesions, maps, frame))


def _draw_all_lesions(rng: np.random.Generator, findings: Findings, eye: anatomy.Eye, frame: Frame) -> Lesions:
    """Return the lesions of the grade and of the other diseases."""
    graded = draw_lesions(rng, findings.grade, eye, frame)
    painter = LesionPainter(rng, eye, frame)
    more = painter.drusen(findings.drusen, 0.03 if findings.large_drusen else 0.016) if findings.drusen else []
    more += painter.laser_spots(findings.laser_spots)
    if findings.hypertension:
        more += painter.haemorrhages(int(rng.integers(4, 10))) + painter.soft_exudates(int(rng.integers(2, 5)))
    return Lesions(graded.items + tuple(more), graded.fovea, graded.beaded)


def _paint_blood(rng: np.random.Generator, retina: Floats, vessels: VesselMaps) -> Floats:
    """Let the vessels absorb light; arteries keep a pale line along their middle."""
    strength = float(rng.uniform(0.85, 1.15))
    reflex = 1 - np.float32(rng.uniform(0.3, 0.6)) * vessels.reflex
    depth = np.maximum((vessels.artery * reflex)[..., None] * _ARTERY, vessels.vein[..., None] * _VEIN)
    shadow = blur(np.maximum(vessels.artery, vessels.vein), 2.0)[..., None] * np.float32(0.08)
    return np.asarray(retina * np.exp(-strength * (depth + shadow)), dtype=np.float32)


def _masks(
    vessels: VesselMaps, disc: Floats, lesions: Lesions, maps: dict[Kind, Floats], frame: Frame
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return all masks, cut at the edge of the field of view."""
    x, y = frame.grid()
    inside = np.hypot(x, y) <= 1
    masks: dict[str, npt.NDArray[np.bool_]] = {
        "artery": vessels.artery > 0.4,
        "vein": vessels.vein > 0.4,
        "optic_disc": disc > 0.5,
    }
    masks.update({str(kind): mask for kind, mask in lesion_masks(lesions, maps, frame).items()})
    # Half a pixel of ink is still a vessel; what the edge cuts off is not seen and not marked.
    return {name: mask & inside for name, mask in masks.items()}


def encode(image: npt.NDArray[np.uint8], suffix: str) -> bytes:
    """Return the bytes of an image file: PNG at a low compression level for speed, or JPEG of quality 90.

    Args:
        image: RGB, shape (H, W, 3), or grey, shape (H, W), uint8.
        suffix: `.png` or `.jpg`.

    Raises:
        ValueError: If OpenCV cannot encode it.
    """
    settings = {".png": [cv2.IMWRITE_PNG_COMPRESSION, 1], ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 90]}[suffix]
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    done, data = cv2.imencode(suffix, pixels, settings)
    if not done:
        raise ValueError(f"an image of shape {image.shape} could not be encoded as {suffix}")
    return bytes(data.tobytes())
