"""The grade of drawn lesions, against the international scale worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from retinai.synthetic.anatomy import draw_eye
from retinai.synthetic.camera import FRAMES, draw_frame
from retinai.synthetic.grading import dme_risk, draw_lesions, icdr_grade
from retinai.synthetic.lesions import Kind, Lesion, Lesions, quadrant

# One place in each quadrant of a fovea at (0, 0).
PLACES = ((0.3, -0.3), (-0.3, -0.3), (0.3, 0.3), (-0.3, 0.3))


def lesion(kind: Kind, place: tuple[float, float] = (0.3, -0.3)) -> Lesion:
    return Lesion(kind, place, np.array([place]) + np.array([[0, 0], [0.01, 0], [0, 0.01]]))


def haemorrhages(*counts: int) -> tuple[Lesion, ...]:
    return tuple(
        lesion("haemorrhage", place) for place, count in zip(PLACES, counts, strict=True) for _ in range(count)
    )


@pytest.mark.parametrize(
    ("lesions", "grade"),
    [
        (Lesions(), 0),
        (Lesions((lesion("drusen"), lesion("laser_spot"))), 0),
        (Lesions((lesion("microaneurysm"),) * 40), 1),
        (Lesions((lesion("microaneurysm"), lesion("hard_exudate"))), 2),
        (Lesions((lesion("soft_exudate"),)), 2),
        (Lesions(haemorrhages(1, 0, 0, 0)), 2),
        (Lesions(haemorrhages(21, 21, 21, 20)), 2),  # "more than 20 in each of four quadrants"
        (Lesions(haemorrhages(90, 0, 0, 0)), 2),
        (Lesions(haemorrhages(21, 21, 21, 21)), 3),
        (Lesions(beaded=(1,)), 2),
        (Lesions(beaded=(0, 3)), 3),
        (Lesions((lesion("irma"),)), 3),
        (Lesions((lesion("neovascularisation"),)), 4),
        (Lesions((lesion("preretinal_haemorrhage"),)), 4),
        (Lesions((lesion("vitreous_haemorrhage"), lesion("irma"))), 4),
    ],
)
def test_grade_follows_the_scale(lesions: Lesions, grade: int) -> None:
    assert icdr_grade(lesions) == grade


def test_quadrants_meet_at_the_fovea() -> None:
    assert quadrant(np.array(PLACES), (0.0, 0.0)).tolist() == [0, 1, 2, 3]
    assert quadrant(np.array([[0.3, -0.3]]), (0.4, -0.5)).tolist() == [3]
    assert Lesions(haemorrhages(3, 0, 2, 5)).per_quadrant("haemorrhage") == [3, 0, 2, 5]


@pytest.mark.parametrize("grade", range(5))
def test_drawn_lesions_amount_to_the_wanted_grade(grade: int) -> None:
    for seed in range(12):
        rng = np.random.default_rng([seed, grade])
        style = sorted(FRAMES)[seed % len(FRAMES)]
        frame, eye = draw_frame(rng, style, 256, mirrored=bool(seed % 2)), draw_eye(rng)
        lesions = draw_lesions(rng, grade, eye, frame)
        assert icdr_grade(lesions) == grade
        if lesions.items:
            assert frame.visible(np.array([x.centre for x in lesions.items]), 0).all()


def test_an_unknown_grade_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="0 to 4, got 5"):
        draw_lesions(rng, 5, draw_eye(rng), draw_frame(rng, "aptos", 128, False))


def test_macular_oedema_depends_on_the_distance_of_hard_exudates() -> None:
    eye = draw_eye(np.random.default_rng(0))
    fovea, diameter = np.array(eye.fovea), 2 * eye.disc_radius

    def at(distance: float) -> Lesions:
        place = fovea + np.array([-distance, 0])
        return Lesions((lesion("hard_exudate", (float(place[0]), float(place[1]))),))

    assert dme_risk(Lesions(haemorrhages(9, 9, 9, 9)), eye) == 0
    assert dme_risk(at(0.5 * diameter), eye) == 2
    assert dme_risk(at(1.2 * diameter), eye) == 1
