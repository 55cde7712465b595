import cv2
import numpy as np
import pytest
from drawn_eye import draw_eye

from retinai.data.photographs.contrast import equalise_lightness
from retinai.data.photographs.field_of_view import _percentile, find_field_of_view
from retinai.data.photographs.images import read_photograph
from retinai.data.photographs.original import Original
from retinai.data.photographs.prepared_pixels import prepare_masks, prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import ConfigError, DataError


def settings(size=128, **options):
    return Preprocessing(input_size=size, mean=(0.5,) * 3, std=(0.5,) * 3, **options)


def copy_of(image):
    return Original(image, "eye").copy_for(settings())


@pytest.mark.parametrize("level", [1.0, 0.3, 0.12])
@pytest.mark.parametrize("border", [0, 6])
def test_disc_is_found_bright_or_dark(level, border):
    view = find_field_of_view(draw_eye(900, 600, 250, centre=(400, 310), level=level, border=border))
    assert view.found
    expected = np.array([150, 60, 501, 501])
    assert np.abs(np.array(view.box) - expected).max() <= 6, view.box


def test_disc_cut_at_top_and_bottom_keeps_its_aspect():
    image = draw_eye(800, 480, 300)
    view = find_field_of_view(image)
    assert view.top == 0
    assert view.height == 480
    assert np.abs(np.array([view.left, view.width]) - (100, 601)).max() <= 5
    square = prepare_photograph(image, settings(300))
    lit = (square.max(axis=2) > 30).any(axis=1)
    assert abs(lit.sum() - 300 * 480 / 601) <= 3  # same scale across and down
    assert not square[:20].any()
    assert not square[-20:].any()


def test_tight_crop_keeps_the_frame():
    image = draw_eye(900, 600, 250)[200:400, 300:600]
    assert find_field_of_view(image).box == (0, 0, 300, 200)


def test_dark_half_and_text_and_speckle_do_not_mislead():
    image = draw_eye(900, 600, 250)
    shade = np.linspace(0.2, 1, 900)[None, :, None]
    image = (image * shade).astype(np.uint8)
    cv2.putText(image, "OD 2019", (5, 30), 0, 0.8, (255, 255, 255), 2)
    speckle = np.random.default_rng(0).random((600, 900)) < 0.002
    image[speckle] = 200
    assert np.abs(np.array(find_field_of_view(image).box) - (200, 50, 501, 501)).max() <= 10


def test_nothing_to_find_gives_the_whole_frame():
    black = np.zeros((50, 80, 3), np.uint8)
    black[20:24, 30:34] = 255
    view = find_field_of_view(black)
    assert not view.found
    assert view.box == (0, 0, 80, 50)


def test_borders_do_not_matter():
    image = draw_eye(700, 700, 330, border=0)
    framed = cv2.copyMakeBorder(image, 100, 60, 200, 30, cv2.BORDER_CONSTANT)
    plain, bordered = (prepare_photograph(i, settings()).astype(int) for i in (image, framed))
    assert np.abs(plain - bordered).mean() < 1.5


@pytest.mark.parametrize("size", [31, 64, 500])
@pytest.mark.parametrize("options", [{}, {"crop": "none"}, {"ben_graham": True}, {"clahe": True}])
def test_shape_type_and_determinism(size, options):
    image = draw_eye()
    first, second = (prepare_photograph(image, settings(size, **options)) for _ in range(2))
    assert first.shape == (size, size, 3)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert np.array_equal(first, second)


def test_shrinking_averages_areas():
    image = np.random.default_rng(0).integers(20, 255, (256, 256, 3), dtype=np.uint8)
    small = prepare_photograph(image, settings(64, crop="none", interpolation="bicubic"))
    means = image.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 1


def test_ben_graham_by_hand():
    image = draw_eye(400, 400, 190, border=0)
    evened = prepare_photograph(image, settings(380, ben_graham=True)).astype(float)
    plain = prepare_photograph(image, settings(380)).astype(np.float32)
    # In the middle, far from the edge, the definition holds: 4 x (pixel - Gaussian mean) + 128, sigma radius / 30.
    mean = cv2.GaussianBlur(plain, (0, 0), 190 / 30)
    middle = np.clip(4 * (plain - mean) + 128, 0, 255)[120:260, 120:260]
    assert np.abs(evened[120:260, 120:260] - middle).mean() < 1.5
    assert (evened[:15, :15] == 128).all()
    rim = cv2.circle(np.zeros((380, 380), np.uint8), (190, 190), 184, 1, 3).astype(bool)
    assert abs(np.median(evened[rim]) - 128) < 12  # no bright rim


def test_ben_graham_scales_with_the_size():
    image = draw_eye(900, 900, 430, border=0)
    large, small = (prepare_photograph(image, settings(size, ben_graham=True)) for size in (600, 150))
    shrunk = cv2.resize(large, (150, 150), interpolation=cv2.INTER_AREA).astype(float)
    inner = np.s_[40:110, 40:110]
    assert np.corrcoef(shrunk[inner].ravel(), small[inner].ravel())[0, 1] > 0.9


def test_clahe_changes_lightness_and_little_of_the_hue():
    image = prepare_photograph(draw_eye(400, 400, 190), settings(256))
    before, after = (cv2.cvtColor(i, cv2.COLOR_RGB2LAB)[100:156, 100:156] for i in (image, equalise_lightness(image)))
    assert np.abs(before[..., 0].astype(int) - after[..., 0]).mean() > 3
    assert np.abs(before[..., 1:].astype(int) - after[..., 1:]).mean() < 3
    assert not prepare_photograph(draw_eye(), settings(clahe=True))[:3, :3].any()


@pytest.mark.parametrize("crop", ["fov", "none"])
def test_masks_move_with_the_photograph(crop):
    image = draw_eye(900, 600, 250, centre=(380, 290))
    spots = {"MA": (300, 200), "EX": (450, 350)}
    masks = {}
    for name, centre in spots.items():
        cv2.circle(image, centre, 14, (0, 0, 255), -1)
        masks[name] = cv2.circle(np.zeros((600, 900), np.uint8), centre, 14, 1, -1).astype(bool)
    prepared = prepare_photograph(image, settings(256, crop=crop)).astype(int)
    moved = prepare_masks(copy_of(image), masks, settings(256, crop=crop))
    blue = prepared[..., 2] - prepared[..., 0] > 100
    assert np.abs(np.argwhere(moved["MA"] | moved["EX"]).mean(0) - np.argwhere(blue).mean(0)).max() < 0.5
    for name, mask in moved.items():
        assert mask.dtype == bool
        assert mask.shape == (256, 256)
        centre = np.argwhere(mask).mean(axis=0)
        near = np.argwhere(blue)
        near = near[np.abs(near - centre).max(axis=1) < 12]
        assert np.abs(centre - near.mean(axis=0)).max() < 0.6, name


def test_a_counted_percentile_is_that_of_numpy():
    rng = np.random.default_rng(0)
    for percent in (5, 50, 95, 99):
        values = rng.integers(0, rng.integers(2, 257), (rng.integers(20, 90), 70)).astype(np.uint8)
        assert _percentile(values, percent) == pytest.approx(np.percentile(values, percent), abs=1e-9)


def test_faults_are_told():
    with pytest.raises(DataError, match="'MA' is"):
        prepare_masks(copy_of(draw_eye()), {"MA": np.zeros((10, 10), bool)}, settings())
    with pytest.raises(ConfigError, match="valid: fov, none"):
        prepare_photograph(draw_eye(), settings(crop="square"))
    with pytest.raises(ConfigError, match="bilinear, bicubic, area"):
        prepare_photograph(draw_eye(), settings(interpolation="nearest"))


def test_real_photographs(idrid_root):
    """The camera of IDRiD shows a disc of four fifths of the frame's width, cut at top and bottom."""
    for path in sorted(idrid_root.glob("B. Disease Grading/1. Original Images/*/*.jpg"))[::12]:
        image = read_photograph(path)
        view = find_field_of_view(image)
        assert view.found
        assert 0.78 < view.width / image.shape[1] < 0.90, path
        assert view.height == image.shape[0], path
