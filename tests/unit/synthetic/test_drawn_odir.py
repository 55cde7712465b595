"""The drawn ODIR: patients as in the owner's table, both eyes alike, textbook signs that can be seen, cameras."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from retinai.data.sources.odir_keywords import decode_keywords
from retinai.errors import UserError
from retinai.synthetic.anatomy import draw_eye
from retinai.synthetic.cohort import write_cohort
from retinai.synthetic.devices import CAMERAS
from retinai.synthetic.patients import Patient, draw_patients
from retinai.synthetic.persons import draw_person
from retinai.synthetic.photograph import Findings, Photograph, draw_photograph
from retinai.tasks.known import ODIR_8


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    return draw_patients(np.random.default_rng(0), 4000, ("canon", "zeiss"))


def photograph(seed: int = 5, camera: str = "canon", age: int = 40, **findings: object) -> Photograph:
    person = draw_person(np.random.default_rng(seed), age, camera)
    return draw_photograph(np.random.default_rng(seed), Findings(**findings), "square", 256, False, person)  # type: ignore[arg-type]


def test_the_keywords_of_every_eye_mean_what_is_drawn(patients: list[Patient]) -> None:
    for patient in patients:
        for eye in patient.eyes:
            found = decode_keywords(eye.text)
            assert not found.unknown
            expected = tuple(int(name in eye.classes) for name in ODIR_8.classes) if eye.classes else None
            assert found.labels == expected


def test_the_owners_traps_occur(patients: list[Patient]) -> None:
    cells = [eye.text for patient in patients for eye in patient.eyes]
    words = Counter(word for cell in cells for word in cell.replace("\uff0c", ",").split(","))
    for word in ("lens dust", "low image quality", "image offset", "optic disk photographically invisible",
                 "suspected glaucoma", "anterior segment image", "no fundus image"):  # fmt: skip
        assert words[word] > 0
    several = [cell for cell in cells if "," in cell or "\uff0c" in cell]
    ascii_only = sum("," in cell for cell in several) / len(several)
    assert 0 < ascii_only < 0.1


@pytest.mark.parametrize(
    ("letter", "other", "share"),
    # Of ODIR's 3,358 patients counted: with H 97 without A, M, G and C, 44 of them with D alone; and so on.
    [("H", "D", 44 / 97), ("C", "D", 38 / 203), ("G", "O", 37 / 177), ("A", "D", 14 / 154), ("M", "O", 39 / 163)],
)
def test_labels_occur_together_as_in_odir(patients: list[Patient], letter: str, other: str, share: float) -> None:
    rarest = "HAMGCOD"
    names = ODIR_8.classes
    mine = [set(np.array(names)[np.array(p.flags) == 1]) for p in patients]
    having = [found for found in mine if letter in found and not found & set(rarest[: rarest.index(letter)])]
    found = np.mean([other in labels for labels in having])
    assert abs(found - share) < 3 * np.sqrt(share * (1 - share) / len(having)) + 0.01


def test_hypertension_is_in_both_eyes_and_other_diseases_in_one(patients: list[Patient]) -> None:
    def both(letter: str) -> float:
        counts = [sum(letter in eye.classes for eye in p.eyes) for p in patients]
        return counts.count(2) / (counts.count(1) + counts.count(2))

    assert both("H") == pytest.approx(0.87, abs=0.05)
    assert both("O") == pytest.approx(0.19, abs=0.05)
    assert both("D") == pytest.approx(0.61, abs=0.05)


def test_cataract_is_of_the_old(patients: list[Patient]) -> None:
    ages = {letter: [p.age for p in patients if p.flags[ODIR_8.classes.index(letter)]] for letter in "CN"}
    assert np.mean(ages["C"]) > np.mean(ages["N"]) + 5


def test_both_eyes_of_a_person_look_alike_and_those_of_others_do_not() -> None:
    persons = [draw_person(np.random.default_rng(n), 50, "canon") for n in range(12)]
    eyes = [[draw_eye(np.random.default_rng([n, k]), person=p) for k in range(2)] for n, p in enumerate(persons)]
    colours = np.array([[eye.colour for eye in pair] for pair in eyes])
    within = np.abs(colours[:, 0] - colours[:, 1]).mean()
    between = np.abs(colours[:, 0] - np.roll(colours[:, 1], 1, axis=0)).mean()
    assert within < 0.5 * between
    for person, pair in zip(persons, eyes, strict=True):
        for eye in pair:
            assert (eye.artery_width, eye.vein_width) == (person.artery_width, person.vein_width)
            assert (eye.tortuosity, eye.tessellation) == (person.tortuosity, person.tessellation)
        assert pair[0].disc != pair[1].disc  # two eyes, not one twice


# Signs: each is measured where it is drawn, against the same eye without it.


def test_silver_wires_are_paler_than_the_veins_beside_them() -> None:
    def shine(drawn: Photograph) -> float:
        artery, vein = drawn.masks["artery"], drawn.masks["vein"]
        green = drawn.image[..., 1].astype(float)
        return float(green[artery & ~vein].mean() / green[vein & ~artery].mean())

    assert shine(photograph(hypertension=True)) > 1.3 * shine(photograph())


def test_a_large_cup_fills_the_disc_with_white() -> None:
    def blue_at_the_disc(drawn: Photograph) -> float:
        return float(np.mean(drawn.image[drawn.masks["optic_disc"]][:, 2]))

    for seed in range(3):
        assert blue_at_the_disc(photograph(seed, cup_to_disc=0.85)) > 1.15 * blue_at_the_disc(photograph(seed))


def test_haze_hides_the_vessels() -> None:
    def contrast(drawn: Photograph) -> float:
        vein, x, y = drawn.masks["vein"], *drawn.frame.grid()
        beside = (np.hypot(x, y) < 0.85) & ~drawn.masks["artery"] & ~vein & ~drawn.masks["optic_disc"]
        return float(drawn.image[beside][:, 1].mean() - drawn.image[vein][:, 1].mean())

    assert contrast(photograph(haze=0.6)) < 0.5 * contrast(photograph())


def test_a_tessellated_fundus_has_a_pattern() -> None:
    def pattern(drawn: Photograph) -> float:
        """Spread of the logarithm of green at the scale of the choroid's vessels, away from what lies before it."""
        logs = np.log1p(drawn.image[..., 1].astype(np.float32))
        x, y = drawn.frame.grid()
        covered = drawn.masks["artery"] | drawn.masks["vein"] | drawn.masks["optic_disc"]
        band = cv2.GaussianBlur(logs, (0, 0), 1.5) - cv2.GaussianBlur(logs, (0, 0), 8)
        return float(
            band[(np.hypot(x, y) < 0.8) & ~cv2.dilate(covered.astype(np.uint8), np.ones((7, 7))).astype(bool)].std()
        )

    assert pattern(photograph(myopia=True)) > 1.5 * pattern(photograph())


@pytest.mark.parametrize(
    ("findings", "kind", "share"),
    [
        ({"drusen": 60, "large_drusen": True}, "drusen", 0.01),
        ({"drusen": 60, "large_drusen": True}, "pigment_clump", 0.0002),
        ({"scars": 3}, "atrophy", 0.005),
        ({"vein_occlusion": True}, "haemorrhage", 0.005),
        ({"laser_spots": 40}, "laser_spot", 0.005),
    ],
)
def test_signs_cover_a_part_of_the_retina(findings: dict[str, object], kind: str, share: float) -> None:
    drawn = photograph(**findings)
    assert drawn.masks[kind].mean() > share
    assert kind not in photograph().masks


def test_an_occluded_vein_bleeds_above_or_below_and_not_on_both_sides() -> None:
    for seed in range(6):
        drawn = photograph(seed, vein_occlusion=True)
        above = [lesion.centre[1] < drawn.eye.disc[1] for lesion in drawn.lesions.of("haemorrhage")]
        assert len(set(above)) == 1


def test_a_healthy_old_macula_has_fewer_drusen_than_the_keyword_drusen() -> None:
    counts = [len(photograph(seed, age=85).lesions.of("drusen")) for seed in range(12)]
    assert 0 < max(counts) <= 4


def test_an_old_lens_is_yellow() -> None:
    young, old = (photograph(age=age).image.reshape(-1, 3).mean(axis=0) for age in (30, 85))
    assert old[2] / old[0] < 0.9 * young[2] / young[0]


@pytest.mark.parametrize("camera", [name for name in CAMERAS if name != "canon"])
def test_cameras_differ_in_colour(camera: str) -> None:
    one, other = (photograph(camera=name).image.reshape(-1, 3).mean(axis=0) for name in ("canon", camera))
    assert np.abs(other / other.sum() - one / one.sum()).max() > 0.005


def test_a_cohort_of_one_camera_and_what_is_refused(tmp_path: Path) -> None:
    write_cohort(tmp_path / "c", "odir", 32, 64, 0, workers=1, progress=False, camera="topcon")
    names = pd.read_excel(next((tmp_path / "c").glob("*.xlsx")))["Left-Fundus"]
    sizes = {Image.open(tmp_path / "c" / "Training Images" / name).size for name in names}
    assert sizes == {(64, 48)}
    with pytest.raises(UserError, match="camera=leica is unknown; valid: mixed, canon"):
        write_cohort(tmp_path / "d", "odir", 32, 64, 0, progress=False, camera="leica")
    with pytest.raises(UserError, match="camera=zeiss is of the layouts odir, odir_kaggle, odir_course"):
        write_cohort(tmp_path / "d", "aptos", 32, 64, 0, progress=False, camera="zeiss")
    assert not (tmp_path / "d").exists()
