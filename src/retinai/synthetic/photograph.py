"""One photograph with its masks, from what the eye is said to have."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from retinai.synthetic import anatomy, signs
from retinai.synthetic.blood import paint_blood, paint_silver_wires
from retinai.synthetic.camera import Exposure, Frame, draw_exposure, draw_frame, expose
from retinai.synthetic.canvas import Floats
from retinai.synthetic.devices import CAMERAS, through
from retinai.synthetic.grading import LesionPainter, dme_risk, draw_lesions, icdr_grade
from retinai.synthetic.lesions import KINDS, Kind, Lesion, Lesions, lesion_map, lesion_masks, paint_lesions
from retinai.synthetic.persons import Person
from retinai.synthetic.vessels import VesselMaps, grow_vessels, paint_vessels


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
        wedge: A lost bundle of nerve fibres, as in glaucoma.
        drusen: Number of drusen.
        large_drusen: Larger, merging drusen with clumps of pigment, as in age-related macular degeneration.
        wet: Also blood and exudates at the macula.
        haze: Cloudiness of the media, 0 to 0.8; a cataract has 0.4 or more. 0.98: nothing is seen.
        hypertension: Narrow, winding arteries like silver wires that nick the veins; in half of them also
            flame haemorrhages and cotton-wool spots.
        myopia: Tessellated (tigroid) background with a pale crescent beside the disc.
        membrane: Epiretinal membrane.
        nerve_fibres: Myelinated nerve fibres.
        laser_spots: Number of laser burns.
        vessels: How its vessels are; None leaves it to chance.
        scars: Number of patches of chorioretinal atrophy.
        vein_occlusion: Flame haemorrhages all over one quadrant.
        dust: Specks on the lens beside those of chance.
    """

    grade: int = 0
    cup_to_disc: float | None = None
    wedge: bool = False
    drusen: int = 0
    large_drusen: bool = False
    wet: bool = False
    haze: float = 0.0
    hypertension: bool = False
    myopia: bool = False
    membrane: bool = False
    nerve_fibres: bool = False
    laser_spots: int = 0
    vessels: VesselTraits | None = None
    scars: int = 0
    vein_occlusion: bool = False
    dust: int = 0


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


def draw_photograph(
    rng: np.random.Generator, findings: Findings, style: str, size: int, mirrored: bool, person: Person | None = None
) -> Photograph:
    """Draw one photograph.

    Args:
        rng: Source of randomness; the same state gives the same bytes.
        findings: What the eye has.
        style: Shape of the frame, a key of `camera.FRAMES`.
        size: Longer side in pixels.
        mirrored: True for a left eye.
        person: Whose eye it is, and by which camera it is taken; None for chance alone.

    Returns:
        The photograph with its masks.
    """
    frame = draw_frame(rng, style, size, mirrored)
    eye = anatomy.draw_eye(rng, findings.cup_to_disc, findings.myopia, findings.hypertension, person)
    if findings.vessels is not None:
        eye = replace(eye, **asdict(findings.vessels))
    lesions = _draw_all_lesions(rng, findings, eye, frame, person)
    vessels = paint_vessels(*grow_vessels(rng, eye, lesions.beaded), frame, findings.hypertension)
    maps: dict[Kind, Floats] = {}
    for kind in KINDS:
        painted = lesion_map(lesions, kind, frame)
        if painted is not None:
            maps[kind] = painted
    retina = anatomy.paint_background(rng, eye, frame)
    if findings.wedge:
        retina = signs.paint_wedge(rng, retina, eye, frame)
    retina, disc = anatomy.paint_disc(rng, retina, eye, frame)
    if findings.nerve_fibres:
        retina = anatomy.paint_nerve_fibres(rng, retina, eye, frame)
    if findings.hypertension:
        retina = paint_silver_wires(rng, retina, vessels, frame.radius)
    else:
        retina = paint_blood(rng, retina, vessels)
    if findings.cup_to_disc is not None:
        retina = signs.paint_excavation(rng, retina, eye, frame)
    retina = paint_lesions(rng, retina, maps)
    if findings.membrane:
        retina = anatomy.paint_haze_of_membrane(rng, retina, eye, frame)
    image = expose(rng, retina, frame, _exposure(rng, findings, person))
    return Photograph(image, eye, frame, lesions, _masks(vessels, disc, lesions, maps, frame))


def _exposure(rng: np.random.Generator, findings: Findings, person: Person | None) -> Exposure:
    """Return the exposure by chance, and by the camera and the lens of the person where one is known."""
    exposure = draw_exposure(rng, findings.haze)
    exposure = replace(exposure, dust=exposure.dust + findings.dust)
    if person is None:
        return exposure
    return through(exposure, CAMERAS[person.camera], person.lens_blue, person.lens_haze)


def _draw_all_lesions(
    rng: np.random.Generator, findings: Findings, eye: anatomy.Eye, frame: Frame, person: Person | None
) -> Lesions:
    """Return the lesions of the grade and of the other diseases."""
    graded = draw_lesions(rng, findings.grade, eye, frame)
    painter = LesionPainter(rng, eye, frame)
    more: list[Lesion] = []
    if findings.large_drusen:
        more += signs.macular_degeneration(painter, findings.drusen, findings.wet)
    else:
        more += painter.drusen(findings.drusen, 0.016)
    more += painter.laser_spots(findings.laser_spots)
    if findings.hypertension and rng.random() < 0.5:
        more += painter.haemorrhages(int(rng.integers(4, 10))) + painter.soft_exudates(int(rng.integers(2, 5)))
    more += signs.scars(painter, findings.scars)
    more += signs.occluded_vein(painter) if findings.vein_occlusion else []
    more += signs.hard_drusen(painter, person.age) if person is not None else []
    return Lesions(graded.items + tuple(more), graded.fovea, graded.beaded)


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
        suffix: `.png`, `.jpg` or `.jpeg`, in any case.

    Raises:
        ValueError: If OpenCV cannot encode it.
    """
    suffix, jpeg = suffix.lower(), [cv2.IMWRITE_JPEG_QUALITY, 90]
    settings = {".png": [cv2.IMWRITE_PNG_COMPRESSION, 1], ".jpg": jpeg, ".jpeg": jpeg}[suffix]
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    done, data = cv2.imencode(suffix, pixels, settings)
    if not done:
        raise ValueError(f"an image of shape {image.shape} could not be encoded as {suffix}")
    return bytes(data.tobytes())
