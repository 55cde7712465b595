"""Calibres, tortuosity and fractal dimension, on vessels that are drawn and whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retinai.data.photographs.field_of_view import find_field_of_view
from retinai.synthetic.photograph import Findings, VesselTraits, draw_photograph
from retinai.vessels.biomarkers.calibres import Disc, equivalent, measure_calibre, near
from retinai.vessels.biomarkers.measure import by_patient, measure_biomarkers
from retinai.vessels.biomarkers.segments import segments
from retinai.vessels.biomarkers.shape import fractal_dimension, squared_curvature, tortuosity

SIDE = 400


def drawn(courses: list[np.ndarray], width: float, side: int = SIDE) -> np.ndarray:
    """A mask of lines of exactly this width: pixels whose middle is nearer than half of it to the course."""
    y, x = np.mgrid[:side, :side]
    found = np.zeros((side, side), bool)
    for course in courses:
        dense = np.concatenate([np.linspace(a, b, 200) for a, b in pairwise(course)])
        for part in np.array_split(dense, max(1, len(dense) // 400)):
            low, high = (part.min(axis=0) - width).astype(int).clip(0), (part.max(axis=0) + width + 1).astype(int)
            there = (slice(low[1], high[1]), slice(low[0], high[0]))
            far = np.hypot(x[there][..., None] - part[:, 0], y[there][..., None] - part[:, 1]).min(axis=-1)
            found[there] |= far < width / 2
    return found


def line(angle: float, length: float = 240) -> np.ndarray:
    way = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    return np.array([SIDE / 2 - way * length / 2, SIDE / 2 + way * length / 2])


def arc(angle: float, radius: float = 120) -> np.ndarray:
    turns = np.linspace(0, np.radians(angle), 60)
    return SIDE / 2 + radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)


@pytest.mark.parametrize("width", [3.0, 6.5, 11.0])
@pytest.mark.parametrize("angle", [0, 22.5, 45, 70])
def test_a_straight_vessel_of_any_width_and_direction(angle: float, width: float) -> None:
    (found,) = segments(drawn([line(angle)], width), 50)
    assert found.width == pytest.approx(width, abs=0.75)  # at 0 degrees pixels are whole rows
    assert found.chord == pytest.approx(240, abs=width + 3)
    assert tortuosity([found]) < 0.001 and squared_curvature([found]) < 0.1


@pytest.mark.parametrize("angle", [60, 120, 180])
def test_an_arc_of_a_circle(angle: float) -> None:
    (found,) = segments(drawn([arc(angle)], 5.0), 50)
    assert found.arc == pytest.approx(120 * np.radians(angle), abs=4)
    turn = found.inner.arc / 120
    assert tortuosity([found]) == pytest.approx(turn / (2 * np.sin(turn / 2)) - 1, abs=0.005)
    assert squared_curvature([found]) == pytest.approx(turn**2, rel=0.25)


def test_vessels_are_cut_where_they_branch_and_short_ones_are_left_out() -> None:
    cross = drawn([line(0), line(90)], 5.0)
    found = segments(cross, 50)
    assert len(found) == 4 and all(one.width == pytest.approx(5.0, rel=0.12) for one in found)
    assert segments(cross, 200) == [] and segments(np.zeros((50, 50), bool), 1) == []


def test_the_dimension_of_shapes_whose_dimension_is_known() -> None:
    carpet = np.ones((1, 1), bool)
    for _ in range(6):
        carpet = np.block([[carpet, carpet, carpet], [carpet, ~carpet & False, carpet], [carpet, carpet, carpet]])
    assert fractal_dimension(carpet) == pytest.approx(np.log(8) / np.log(3), abs=0.03)
    assert fractal_dimension(np.ones((256, 256), bool)) == pytest.approx(2, abs=1e-6)
    assert fractal_dimension(np.eye(256, dtype=bool)) == pytest.approx(1, abs=1e-6)
    assert np.isnan(fractal_dimension(np.zeros((8, 8), bool)))


def test_vessels_are_joined_as_knudtson_has_it() -> None:
    """By hand: six of 10 give three of .88 * sqrt(200), the middle one waits, and so on."""
    first = 0.88 * np.hypot(10, 10)
    second = 0.88 * np.hypot(first, first)
    assert equivalent([10.0] * 6, 0.88) == pytest.approx(0.88 * np.hypot(first, second))
    pairs = [0.95 * np.hypot(6, 1), 0.95 * np.hypot(5, 2), 0.95 * np.hypot(4, 3)]
    low, middle, high = sorted(pairs)
    outer = 0.95 * np.hypot(low, high)
    assert equivalent([3, 1, 6, 2, 5, 4], 0.95) == pytest.approx(0.95 * np.hypot(outer, middle))
    assert equivalent([7.0], 0.88) == 7


def wheel(widths: list[float], turn: float) -> np.ndarray:
    angles = [turn + 60 * k for k in range(len(widths))]
    masks = []
    for angle, width in zip(angles, widths, strict=True):
        way = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
        masks.append(drawn([np.array([SIDE + way * 40, SIDE + way * 330])], width, 2 * SIDE))
    return np.any(masks, axis=0)


def test_the_calibres_of_vessels_that_leave_a_disc() -> None:
    arteries, veins = [5.0, 6.0, 7.0, 8.0, 6.0, 7.0], [9.0, 10.0, 8.0, 9.0, 11.0, 10.0]
    classes = (wheel(arteries, 0) * 1 + wheel(veins, 30) * 2).astype(np.uint8)
    disc = Disc(SIDE, SIDE, 160)
    found = measure_biomarkers(classes, 2 * SIDE, disc)
    assert found.crae == pytest.approx(equivalent(arteries, 0.88), rel=0.04) and found.crae_vessels == 6
    assert found.crve == pytest.approx(equivalent(veins, 0.95), rel=0.04) and found.crve_vessels == 6
    assert found.avr == pytest.approx(found.crae / found.crve) and found.disc_diameter == 160
    assert found.tortuosity < 0.01
    three = measure_calibre(segments(near(wheel(arteries[:3], 0), disc), 20), disc, "artery")
    assert np.isnan(three.equivalent) and three.vessels == 3
    without = measure_biomarkers(classes, 2 * SIDE, None)
    assert np.isnan(without.crae) and np.isnan(without.avr) and without.tortuosity == found.tortuosity
    untold = measure_biomarkers(np.where(classes > 0, 3, 0).astype(np.uint8), 2 * SIDE, disc)
    assert np.isnan(untold.crae) and np.isnan(untold.tortuosity_artery) and untold.tortuosity > 0


def test_numbers_follow_what_an_eye_was_drawn_with() -> None:
    """Wider arteries raise CRAE and the ratio to the veins; winding vessels are more tortuous."""
    base = VesselTraits(0.0162, 0.0218, 0.6)
    kinds = {"base": base, "wide": replace(base, artery_width=0.0215), "winding": replace(base, tortuosity=2.2)}
    means = {}
    for name, traits in kinds.items():
        rows = []
        for seed in range(4):
            eye = draw_photograph(np.random.default_rng(seed), Findings(vessels=traits), "square", 640, False)
            classes = (eye.masks["artery"] * 1 + eye.masks["vein"] * 2).astype(np.uint8)
            x, y = eye.frame.to_pixels(np.array([eye.eye.disc]))[0]
            disc = Disc(x, y, 2 * eye.eye.disc_radius * eye.frame.radius)
            found = measure_biomarkers(classes, round(2 * eye.frame.radius), disc)
            rows.append([found.crae, found.crve, found.avr, found.tortuosity])
        means[name] = np.nanmean(rows, axis=0)
    crae, _, avr, winding = (np.array([means[name][k] for name in kinds]) for k in range(4))
    assert crae[1] > 1.15 * crae[0] and avr[1] > 1.1 * avr[0]
    assert winding[2] > 1.5 * winding[0]


def test_means_of_a_patient_leave_out_what_is_not_told() -> None:
    table = pd.DataFrame(
        {"id": ["a", "b", "c", "d"], "error": ["", "", "", "bad"], "density": [0.1, 0.3, 0.2, np.nan],
         "avr": [0.6, np.nan, np.nan, np.nan]}
    )  # fmt: skip
    found = by_patient(table, {"a": "p", "b": "p", "c": "q", "d": "q"}).set_index("patient")
    assert found["photographs"].tolist() == [2, 1]
    assert found.loc["p", "density"] == pytest.approx(0.2) and found.loc["p", "avr"] == 0.6
    assert np.isnan(found.loc["q", "avr"])


def test_discs_of_real_photographs(weights_root: Path, idrid_root: Path) -> None:
    from retinai.data.photographs.images import read_photograph
    from retinai.lesions.mask_files import read_lesion_mask
    from retinai.vessels.biomarkers.disc import DiscFinder

    finder, part = DiscFinder(weights_root), idrid_root / "A. Segmentation"
    truth = part / "2. All Segmentation Groundtruths" / "a. Training Set" / "5. Optic Disc"
    for name in ("IDRiD_02", "IDRiD_04"):  # one with its disc at the side, one in the middle
        photograph = read_photograph(part / "1. Original Images" / "a. Training Set" / f"{name}.jpg")
        view = find_field_of_view(photograph)
        found, drawn_one = finder.mask(photograph, view), read_lesion_mask(truth / f"{name}_OD.tif") > 0
        assert found is not None
        assert 2 * (found & drawn_one).sum() / (found.sum() + drawn_one.sum()) > 0.93
        rows, columns = np.nonzero(drawn_one)
        disc = finder.find(photograph, view)
        assert disc is not None
        assert np.hypot(disc.x - columns.mean(), disc.y - rows.mean()) < 0.02 * photograph.shape[1]
