"""Drawn photographs: what must be true of their pixels, vessels and masks."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from retinai.synthetic.anatomy import draw_eye
from retinai.synthetic.camera import FRAMES, draw_frame
from retinai.synthetic.photograph import Findings, Photograph, draw_photograph, encode
from retinai.synthetic.vessels import grow_vessels


def draw(
    findings: Findings, seed: int = 0, style: str = "square", size: int = 256, mirrored: bool = False
) -> Photograph:
    return draw_photograph(np.random.default_rng(seed), findings, style, size, mirrored)


def red_mean(photograph: Photograph, mask: np.ndarray) -> float:
    return float(photograph.image[mask].mean())


@pytest.mark.parametrize("style", sorted(FRAMES))
def test_it_is_black_outside_the_field_of_view_and_lit_inside(style: str) -> None:
    photograph = draw(Findings(), style=style)
    height, width = photograph.image.shape[:2]
    assert max(height, width) == 256
    rows, columns = np.mgrid[:height, :width]
    frame = photograph.frame
    distance = np.hypot(columns - frame.centre[0], rows - frame.centre[1]) / frame.radius
    assert photograph.image[distance > 1.03].max(initial=0) <= 4
    assert np.median(photograph.image[distance < 0.9].max(axis=1)) > 60


def test_the_disc_is_bright_and_the_fovea_dark() -> None:
    for seed in range(4):
        photograph = draw(Findings(), seed)
        x, y = photograph.frame.grid()
        fovea = np.hypot(x - photograph.eye.fovea[0], y - photograph.eye.fovea[1])
        clear = ~(photograph.masks["artery"] | photograph.masks["vein"])
        ring = clear & (fovea > 0.35) & (fovea < 0.5) & ~photograph.masks["optic_disc"]
        green = photograph.image[..., 1].astype(float)
        assert green[fovea < 0.07].mean() < green[ring].mean() < green[photograph.masks["optic_disc"] & clear].mean()


def test_a_left_eye_has_its_disc_on_the_left() -> None:
    for mirrored in (False, True):
        columns = np.nonzero(draw(Findings(), mirrored=mirrored).masks["optic_disc"])[1]
        assert (columns.mean() < 128) == mirrored


def test_vessels_are_trees_that_taper_and_spare_the_fovea() -> None:
    rng = np.random.default_rng(0)
    eye = draw_eye(rng)
    arteries, veins = grow_vessels(rng, eye)
    for trunk in arteries + veins:
        for vessel in trunk.walk():
            assert (np.diff(vessel.widths) <= 0).all()
            for branch in vessel.branches:
                gap = np.hypot(*(vessel.points - branch.points[0]).T)
                assert gap.min() < 1e-9
                assert branch.widths[0] < vessel.widths[int(gap.argmin())]
            far = np.hypot(*(vessel.points[:-1] - eye.fovea).T)
            assert far[1:].min(initial=1) > 0.1
    assert sum(len(trunk.walk()) for trunk in arteries) > 30
    assert max(v.widths.max() for v in veins) > max(a.widths.max() for a in arteries)


def test_arteries_are_brighter_than_veins_and_both_darker_than_what_lies_around() -> None:
    photograph = draw(Findings(), size=512)
    artery, vein = photograph.masks["artery"], photograph.masks["vein"]
    x, y = photograph.frame.grid()
    around = (np.hypot(x, y) < 0.8) & ~artery & ~vein & ~photograph.masks["optic_disc"]
    assert red_mean(photograph, vein & ~artery) < red_mean(photograph, artery & ~vein) < red_mean(photograph, around)


def test_masks_lie_on_the_lesions_that_they_name() -> None:
    photograph = draw(Findings(grade=3), seed=1, size=512)
    assert {"microaneurysm", "haemorrhage"} <= set(photograph.masks)
    mask = photograph.masks["haemorrhage"]
    assert mask.shape == photograph.image.shape[:2]
    x, y = photograph.frame.grid()
    clear = (np.hypot(x, y) < 0.9) & ~np.logical_or.reduce(list(photograph.masks.values()))
    green = photograph.image[..., 1].astype(float)
    assert green[mask].mean() < 0.7 * green[clear].mean()
    # Each haemorrhage that was placed is marked where it was placed.
    for lesion in photograph.lesions.of("haemorrhage"):
        column, row = np.rint(photograph.frame.to_pixels(np.array([lesion.centre]))[0]).astype(int)
        assert mask[row - 2 : row + 3, column - 2 : column + 3].any()


def test_hard_exudates_are_paler_than_their_surroundings() -> None:
    found = 0
    for seed in range(6):
        photograph = draw(Findings(grade=2), seed=seed, size=384)
        if "hard_exudate" not in photograph.masks:
            continue
        found += 1
        x, y = photograph.frame.grid()
        clear = (np.hypot(x, y) < 0.8) & ~np.logical_or.reduce(list(photograph.masks.values()))
        green = photograph.image[..., 1].astype(float)
        assert green[photograph.masks["hard_exudate"]].mean() > 1.2 * green[clear].mean()
    assert found >= 2


@pytest.mark.parametrize(
    "findings",
    [
        Findings(cup_to_disc=0.85),
        Findings(drusen=60, large_drusen=True),
        Findings(haze=0.6),
        Findings(hypertension=True),
        Findings(myopia=True),
        Findings(membrane=True),
        Findings(nerve_fibres=True),
        Findings(laser_spots=50),
    ],
    ids=lambda f: next(k for k, v in vars(f).items() if v),
)
def test_other_diseases_show_but_are_no_retinopathy_of_their_own(findings: Findings) -> None:
    photograph = draw(findings, seed=5)
    plain = draw(Findings(), seed=5)
    assert photograph.image.shape[1] == 256
    assert (photograph.image != plain.image).any()
    if not findings.hypertension:
        assert photograph.grade == 0


def test_haze_takes_away_contrast() -> None:
    clear, hazy = (draw(Findings(haze=haze), seed=3) for haze in (0.0, 0.7))

    def contrast(photograph: Photograph) -> float:
        x, y = photograph.frame.grid()
        green = photograph.image[..., 1][np.hypot(x, y) < 0.7].astype(float)
        return float(green.std() / green.mean())

    assert contrast(hazy) < 0.6 * contrast(clear)


def test_the_same_state_gives_the_same_bytes_and_another_seed_others() -> None:
    def digest(seed: int) -> str:
        return hashlib.sha256(encode(draw(Findings(grade=4), seed=seed, size=128).image, ".png")).hexdigest()

    assert digest(7) == digest(7)
    assert digest(7) != digest(8)


def test_png_is_lossless_and_rgb() -> None:
    image = draw(Findings(), size=96).image
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode(image, ".png")))), image)
    jpeg = np.asarray(Image.open(io.BytesIO(encode(image, ".jpg"))), dtype=float)
    assert abs(jpeg - image).mean() < 6


def test_points_and_pixels_agree_with_the_grid() -> None:
    for mirrored in (False, True):
        frame = draw_frame(np.random.default_rng(0), "idrid", 300, mirrored)
        x, y = frame.grid()
        point = np.array([[float(x[50, 120]), float(y[50, 120])]])
        np.testing.assert_allclose(frame.to_pixels(point), [[120, 50]], atol=1e-3)
        np.testing.assert_allclose(frame.to_pixels(point, 2), [[240.5, 100.5]], atol=1e-3)
