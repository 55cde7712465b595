"""Findings: what the lesion masks of a photograph say, as plain facts.

A finding is measured on the masks at their own resolution and never guessed: a lesion that nobody
annotated on a photograph is neither present nor absent there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from retinai.data.photographs.field_of_view import FieldOfView, find_field_of_view
from retinai.data.photographs.prepared_pixels import same_shape
from retinai.errors import DataError

# Lesions in the order in which they are told; the names are those of the masks.
LESION_NAMES = ("microaneurysms", "haemorrhages", "hard_exudates", "soft_exudates")
OPTIC_DISC = "optic_disc"
# Raised when the same masks would be measured otherwise, so that no cache serves old findings.
FINDINGS_VERSION = 1
# Upper left, upper right, lower left, lower right of the frame; by laterality, the disc being nasal.
QUADRANTS = {
    "": ("upper left", "upper right", "lower left", "lower right"),
    "right": ("superotemporal", "superonasal", "inferotemporal", "inferonasal"),
    "left": ("superonasal", "superotemporal", "inferonasal", "inferotemporal"),
}
# A disc nearer to the middle than this share of the half width does not tell the eye: the photograph
# may be centred on the disc.
_DISC_OFF_CENTRE = 0.1


@dataclass(frozen=True)
class LesionFinding:
    """One kind of lesion that a photograph has.

    Args:
        lesion: One of LESION_NAMES.
        count: Connected regions of the mask (8-connectivity), >= 1. Every region counts, specks of one
            pixel too; lesions that touch are one.
        area: Lesion pixels as a share of the field of view, > 0.
        quadrants: Quadrants that hold lesion pixels, in the order of QUADRANTS.
    """

    lesion: str
    count: int
    area: float
    quadrants: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """What is known of the lesions of a photograph.

    Args:
        annotated: Lesions that were looked for and drawn where they are, in the order of LESION_NAMES.
        present: Those that the photograph has; annotated lesions that are not here are absent.
        laterality: `left` or `right` eye as the optic disc's place tells, "" where it does not.
    """

    annotated: tuple[str, ...]
    present: tuple[LesionFinding, ...]
    laterality: str

    def __post_init__(self) -> None:
        names = [finding.lesion for finding in self.present]
        if not set(self.annotated) <= set(LESION_NAMES):
            raise DataError(f"findings name the lesions {list(self.annotated)}; known are {', '.join(LESION_NAMES)}")
        if not set(names) <= set(self.annotated) or len(set(names)) < len(names):
            raise DataError(f"findings tell of {names}, but only {list(self.annotated)} were annotated, each once")
        if self.laterality not in QUADRANTS:
            raise DataError(f"laterality {self.laterality!r} is unknown; it is left, right or empty")
        for finding in self.present:
            allowed = QUADRANTS[self.laterality]
            if finding.count < 1 or finding.area <= 0 or not finding.quadrants or set(finding.quadrants) - {*allowed}:
                raise DataError(f"{finding} is no finding: count >= 1, area > 0, quadrants of {', '.join(allowed)}")

    @property
    def absent(self) -> tuple[str, ...]:
        """Annotated lesions that the photograph does not have."""
        there = {finding.lesion for finding in self.present}
        return tuple(lesion for lesion in self.annotated if lesion not in there)

    def __str__(self) -> str:
        """Return a few words, such as `hard exudates 12, microaneurysms 3`; empty where nothing was annotated."""
        there = ", ".join(f"{found.lesion.replace('_', ' ')} {found.count}" for found in self.present)
        return there or ("no lesions" if self.annotated else "")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values (str, int, float, list) for JSON."""
        present = [{**asdict(finding), "quadrants": list(finding.quadrants)} for finding in self.present]
        return {"annotated": list(self.annotated), "present": present, "laterality": self.laterality}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Findings:
        """Rebuild findings from `to_dict`.

        Raises:
            DataError: If a key is missing, unknown or has no sensible value.
        """
        try:
            present = [
                LesionFinding(**{**found, "quadrants": tuple(found["quadrants"])}) for found in values["present"]
            ]
            return cls(tuple(values["annotated"]), tuple(present), values["laterality"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{values!r} are no findings ({type(error).__name__}: {error})") from error


def measure_findings(
    photograph: np.ndarray, masks: Mapping[str, np.ndarray], annotated: Sequence[str] = LESION_NAMES
) -> Findings:
    """Measure the lesion masks of a photograph.

    Args:
        photograph: The photograph, uint8 RGB, (H, W, 3); only its field of view is looked at.
        masks: {lesion or `optic_disc`: bool (h, w)}, of the photograph's shape but not necessarily its
            size; an annotated lesion without a mask is absent.
        annotated: Lesions that were looked for.

    Returns:
        The findings. Quadrants are about the middle of the field of view's box: superior and inferior,
        nasal (the side of the disc) and temporal; without a disc to tell, upper and lower, left and right.

    Raises:
        DataError: If a mask has another shape than its photograph, or belongs to an unknown lesion.
    """
    unknown = [name for name in masks if name not in (*annotated, OPTIC_DISC)]
    if unknown:
        raise DataError(f"masks of {', '.join(unknown)} are not among the annotated lesions {', '.join(annotated)}")
    view = find_field_of_view(photograph)
    for name, mask in masks.items():
        _check_shape(name, mask, photograph)
    laterality = _laterality(masks.get(OPTIC_DISC), photograph, view)
    names = [name for name in LESION_NAMES if name in annotated]
    present = [
        _measure(name, masks[name], photograph, view, laterality)
        for name in names
        if name in masks and masks[name].any()
    ]
    return Findings(tuple(names), tuple(present), laterality)


def _measure(
    lesion: str, mask: np.ndarray, photograph: np.ndarray, view: FieldOfView, laterality: str
) -> LesionFinding:
    count = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    rows, columns = np.nonzero(mask)
    centre_x, centre_y = _centre(mask, photograph, view)
    places = 2 * (rows + 0.5 >= centre_y) + (columns + 0.5 >= centre_x)
    quadrants = tuple(QUADRANTS[laterality][place] for place in range(4) if (places == place).any())
    return LesionFinding(lesion, int(count), float(rows.size / _field_pixels(mask, photograph, view)), quadrants)


def _laterality(disc: np.ndarray | None, photograph: np.ndarray, view: FieldOfView) -> str:
    """Return the eye: seen from in front, the disc of a right eye lies right of the middle."""
    if disc is None or not disc.any():
        return ""
    scale = disc.shape[1] / photograph.shape[1]
    centre_x, _ = _centre(disc, photograph, view)
    offset = (np.nonzero(disc)[1].mean() + 0.5 - centre_x) / (0.5 * view.width * scale)
    if abs(offset) < _DISC_OFF_CENTRE:
        return ""
    return "right" if offset > 0 else "left"


def _centre(mask: np.ndarray, photograph: np.ndarray, view: FieldOfView) -> tuple[float, float]:
    """Return the middle (x, y) of the field of view in pixels of the mask."""
    scale_x, scale_y = mask.shape[1] / photograph.shape[1], mask.shape[0] / photograph.shape[0]
    return (view.left + view.width / 2) * scale_x, (view.top + view.height / 2) * scale_y


def _field_pixels(mask: np.ndarray, photograph: np.ndarray, view: FieldOfView) -> int:
    """Return how many pixels of the mask the field of view has."""
    scale = np.array((mask.shape[1] / photograph.shape[1], mask.shape[0] / photograph.shape[0]))
    inside = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.rint(view.outline * scale - 0.5).astype(np.int32), 1)
    return int(inside.sum())


def _check_shape(name: str, mask: np.ndarray, photograph: np.ndarray) -> None:
    """Refuse a mask of another photograph; a smaller or larger copy of the data set is fine."""
    if mask.ndim != 2 or not same_shape(mask.shape, photograph.shape):
        height, width = photograph.shape[:2]
        raise DataError(f"mask {name!r} is {mask.shape[::-1]} pixels, its photograph {(width, height)}")
