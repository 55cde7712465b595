"""All numbers of one photograph's vessels, and their means over the photographs of a patient."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retinai.errors import MissingExtraError
from retinai.vessels.biomarkers.calibres import Disc, measure_calibre, near
from retinai.vessels.biomarkers.segments import segments, skeleton
from retinai.vessels.biomarkers.shape import fractal_dimension, squared_curvature, tortuosity
from retinai.vessels.class_map import ARTERY, BOTH, NONE, VEIN

if TYPE_CHECKING:
    import pandas as pd

PATIENTS = "patients.csv"
_LEAST_COURSE = 1 / 20  # of the field of view's width: shorter pieces say nothing of how a vessel winds
_LEAST_CROSSING = 1 / 6  # of the disc's diameter: shorter pieces in zone B are no vessels that cross it


@dataclass(frozen=True)
class Biomarkers:
    """Numbers of the vessels of one photograph; NaN where they cannot be told.

    Args:
        crae: Central retinal artery equivalent, in pixels of the photograph.
        crve: Central retinal vein equivalent, in pixels of the photograph.
        avr: Their ratio.
        crae_vessels: Arteries that it rests on, 6 at most.
        crve_vessels: Veins that it rests on, 6 at most.
        disc_diameter: In pixels of the photograph.
        tortuosity: Arc over chord minus 1, mean over the length of all vessels.
        tortuosity_artery: The same of arteries.
        tortuosity_vein: The same of veins.
        curvature: Integral of the squared curvature times the length, mean over the length of all vessels.
        fractal_dimension: Box-counting dimension of the vessels' middle lines.
    """

    crae: float
    crve: float
    avr: float
    crae_vessels: int
    crve_vessels: int
    disc_diameter: float
    tortuosity: float
    tortuosity_artery: float
    tortuosity_vein: float
    curvature: float
    fractal_dimension: float


NAMES = tuple(field.name for field in fields(Biomarkers))


def check_biomarkers(weights: str | Path | None) -> None:
    """Check that all that is needed is there, before anything is read.

    Args:
        weights: Folder of the disc's weights; None where no disc is looked for.

    Raises:
        UserError: If scikit-image or weights are not there.
    """
    if find_spec("skimage") is None:
        raise MissingExtraError("skimage", "vessels")
    if weights is not None:
        from retinai.vessels.biomarkers.disc import find_disc_weights

        find_disc_weights(weights)


def measure_biomarkers(classes: NDArray[np.uint8], width: int, disc: Disc | None) -> Biomarkers:
    """Return the biomarkers of a class map.

    Args:
        classes: uint8 (H, W), see `class_map`; crossings count to both kinds.
        width: Of the field of view, in pixels.
        disc: The optic disc; None where there is none, so that there are no calibres.
    """
    kinds = {"artery": np.isin(classes, (ARTERY, BOTH)), "vein": np.isin(classes, (VEIN, BOTH))}
    told_apart = bool(np.isin(classes, (ARTERY, VEIN)).any())
    least = _LEAST_COURSE * width
    courses = segments(classes > NONE, least)
    calibres = {}
    winding = {}
    for kind, mask in kinds.items():
        winding[kind] = tortuosity(segments(mask, least)) if told_apart else float("nan")
        if disc is not None and told_apart:
            crossing = segments(near(mask, disc), _LEAST_CROSSING * disc.diameter)
            calibres[kind] = measure_calibre(crossing, disc, kind)
    nan = float("nan")
    artery, vein = (calibres[kind].equivalent if kind in calibres else nan for kind in ("artery", "vein"))
    return Biomarkers(
        crae=artery,
        crve=vein,
        avr=artery / vein if vein else nan,
        crae_vessels=calibres["artery"].vessels if calibres else 0,
        crve_vessels=calibres["vein"].vessels if calibres else 0,
        disc_diameter=nan if disc is None else disc.diameter,
        tortuosity=tortuosity(courses),
        tortuosity_artery=winding["artery"],
        tortuosity_vein=winding["vein"],
        curvature=squared_curvature(courses),
        fractal_dimension=fractal_dimension(skeleton(classes > NONE)),
    )


def by_patient(table: pd.DataFrame, patients: dict[str, str]) -> pd.DataFrame:
    """Return the means over the photographs of each patient.

    Args:
        table: A row per photograph: `id`, `error`, and the numbers.
        patients: Whose each photograph is, by id.

    Returns:
        `patient`, `photographs` with a mask, and the mean of each number over those in which it is told.
    """
    good = table[table["error"] == ""]
    numbers = [name for name in ("density", "artery", "vein", *NAMES) if name in good]
    grouped = good.assign(patient=good["id"].map(patients)).groupby("patient", sort=True)
    means = grouped[numbers].mean(numeric_only=True)
    means.insert(0, "photographs", grouped.size())
    return means.reset_index()
