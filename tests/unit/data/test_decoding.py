"""JPEGs at a fraction of their size: by one rule, with one result wherever photographs are read."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from drawn_eye import draw_eye
from PIL import Image

from retinai.data.curation.file_index import examine
from retinai.data.loading.dataset import FundusDataset
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.images import BadImageError, decode_photograph, read_photograph
from retinai.data.photographs.original import Original, choose_reduction
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.photographs.retina import NOT_A_RETINA, prepare_retina
from retinai.data.sources.label_table import as_targets
from retinai.lesions.masks import MaskField
from retinai.prediction.files import PhotographFiles
from retinai.prediction.photographs import name_photographs
from retinai.runtime.reading import read_all

WIDTH, HEIGHT = 2403, 1601  # no multiples of 8, so that copies are rounded up
PRE = Preprocessing(128, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def eye() -> np.ndarray:
    return draw_eye(WIDTH, HEIGHT, 760, centre=(1180, 810))


@pytest.fixture(scope="module")
def jpeg(eye: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("large") / "eye.jpg", eye)


def save(path: Path, image: np.ndarray, mode: str = "RGB", **options) -> Path:
    Image.fromarray(image).convert(mode).save(path, **{"quality": 92, **options})
    return path


@pytest.mark.parametrize(
    ("width", "height", "field", "side", "expected"),
    [
        (4288, 2848, 2848, 178, 8),  # 356 pixels are twice 178,
        (4288, 2848, 2848, 179, 4),  # not twice 179
        (4288, 2848, 2848, 224, 4),
        (4288, 2848, 2848, 380, 2),
        (4288, 2848, 2848, 713, 1),  # more than a half leaves
        (4288, 2848, 1000, 224, 2),  # a small field of view in a large frame
        (2848, 4288, 2848, 224, 4),  # upright or lying
        (1024, 680, 680, 224, 1),  # the size in which IDRiD is shared for tests: whole at 224 pixels,
        (1024, 680, 680, 128, 2),  # a half below 171
        (1023, 680, 680, 16, 1),  # never smaller than the copy in which the field of view is looked for
        (200, 100, 100, 512, 1),
    ],
)
def test_the_scale_is_the_smallest_that_leaves_twice_the_input(width, height, field, side, expected) -> None:
    assert choose_reduction(width, height, field, side) == expected


def test_every_reader_sees_the_same_pixels(jpeg: Path, tmp_path: Path) -> None:
    """Training with and without a cache, predict, the runtime, one process or another: bit by bit."""
    copy = Original.read(jpeg).copy_for(PRE)
    assert copy.reduction == 4 and copy.pixels.shape == (401, 601, 3) and copy.whole == (WIDTH, HEIGHT)
    expected = prepare_photograph(cv2.imread(str(jpeg), cv2.IMREAD_REDUCED_COLOR_4)[:, :, ::-1].copy(), PRE)
    table = pd.DataFrame({"id": ["a"], "path": [str(jpeg)], "target": as_targets([0])})
    cache = PreparedCache(tmp_path / "cache", PRE)
    found = {
        "original": Original.read(jpeg).prepared(PRE),
        "training": FundusDataset(table, PRE, cache=cache)[0]["image"],
        "predict": PhotographFiles(name_photographs([jpeg]), PRE, [])[0][1]["image"],
        "runtime": next(read_all(PRE, (), [str(jpeg)], 0, None)).pixels,
        "another process": next(read_all(PRE, (), [str(jpeg)], 1, None)).pixels,
    }
    record = cache.prepare([str(jpeg)], workers=0, progress=None)[str(jpeg)]
    assert (record.width, record.height, record.reason) == (WIDTH, HEIGHT, "")
    found |= {"cache": cache.load(jpeg), "training from the cache": FundusDataset(table, PRE, cache=cache)[0]["image"]}
    assert [name for name, pixels in found.items() if not np.array_equal(pixels, expected)] == []


def test_reduced_pixels_are_nearly_those_of_the_whole_and_have_a_key_of_their_own(jpeg: Path) -> None:
    whole = replace(PRE, decoding="whole")
    assert np.array_equal(Original.read(jpeg).prepared(whole), prepare_photograph(read_photograph(jpeg), PRE))
    reduced, full = (Original.read(jpeg).prepared(way).astype(float) for way in (PRE, whole))
    assert 10 * np.log10(255**2 / np.mean((reduced - full) ** 2)) > 40
    assert PRE.pixel_key() != whole.pixel_key()
    former = {key: value for key, value in PRE.to_dict().items() if key != "decoding"}
    assert Preprocessing.from_dict(former) == whole  # a checkpoint of before the rule
    assert Preprocessing.from_dict(PRE.to_dict()) == PRE


def test_a_small_field_of_view_is_decoded_again_larger(tmp_path: Path) -> None:
    small = save(tmp_path / "small.jpg", draw_eye(WIDTH, HEIGHT, 400, centre=(1600, 500)))
    copy = Original.read(small).copy_for(PRE)
    assert copy.reduction == 2 and copy.field_of_view.width >= 2 * PRE.input_size
    assert Original.read(small).copy_for(replace(PRE, crop="none")).reduction == 4


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {}), ("RGB", {"progressive": True}), ("RGB", {"subsampling": 0}), ("L", {}), ("CMYK", {})],
)
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_kinds_of_jpeg_are_reduced_alike(tmp_path: Path, eye: np.ndarray, mode: str, options, reduction: int) -> None:
    path = save(tmp_path / "a.jpg", eye, mode, **options)
    pixels = decode_photograph(path.read_bytes(), path, reduction=reduction)
    small = cv2.resize(eye, pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    expected = np.asarray(Image.fromarray(small).convert(mode).convert("RGB")).astype(float)
    assert pixels.shape == (-(-HEIGHT // reduction), -(-WIDTH // reduction), 3)
    assert np.abs(pixels - expected).mean() < 4
    with Image.open(path) as image:
        image.draft(None, (image.width // reduction, image.height // reduction))
        assert np.array_equal(pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
def test_a_turned_jpeg_is_upright_and_reduced(tmp_path: Path, eye: np.ndarray, orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    copy = Original.read(save(tmp_path / "a.jpg", eye, exif=exif)).copy_for(PRE)
    upright = np.rot90(eye, turns)
    assert copy.reduction == 4 and copy.whole == upright.shape[1::-1]
    small = cv2.resize(upright, copy.pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(copy.pixels.astype(float) - small).mean() < 3


def test_what_is_wrong_with_a_large_jpeg_is_told(tmp_path: Path, jpeg: Path) -> None:
    data = jpeg.read_bytes()
    cases = {"truncated JPEG": data[: len(data) // 2], "all black": encoded(np.zeros((HEIGHT, WIDTH, 3), np.uint8))}
    for reason, content in cases.items():
        with pytest.raises(BadImageError) as caught:
            Original(content, "a.jpg").prepared(PRE)
        assert caught.value.reason == reason
        (tmp_path / "a.jpg").write_bytes(content)
        assert examine(str(tmp_path / "a.jpg")).record.reason == reason
    spot = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    spot[100:300, 200:500] = 220
    with pytest.raises(BadImageError) as caught:
        prepare_retina(Original(encoded(spot), "spot.jpg"), PRE)
    assert caught.value.reason == NOT_A_RETINA
    assert Original(encoded(spot), "spot.jpg").prepared(PRE).shape == (128, 128, 3)  # training shows the whole frame


def encoded(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.mark.parametrize("shrunk", [1, 2])
def test_masks_lie_on_a_reduced_photograph_as_on_a_whole_one(tmp_path: Path, eye: np.ndarray, shrunk: int) -> None:
    """Of the photograph's size, and of a smaller copy of the data set."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    marked = eye.copy()
    for centre in ((700, 400), (1500, 1200), (900, 1100)):
        cv2.circle(mask, centre, 40, 255, -1)
        cv2.circle(marked, centre, 40, (0, 0, 255), -1)
    photograph = save(tmp_path / "a.jpg", marked, subsampling=0)
    small = cv2.resize(mask, (WIDTH // shrunk, HEIGHT // shrunk), interpolation=cv2.INTER_NEAREST_EXACT)
    cv2.imwrite(str(tmp_path / "m.png"), small)
    table = pd.DataFrame({"id": ["a"], "path": [str(photograph)], "target": as_targets([0])})
    field = MaskField(("spots",), {"a": {"spots": str(tmp_path / "m.png")}})
    samples = [FundusDataset(table, replace(PRE, decoding=d), fields=[field])[0] for d in ("reduced", "whole")]
    for sample in samples:
        blue = sample["image"][:, :, 2].astype(int) - sample["image"][:, :, 0] > 52
        found = [_centres(plane) for plane in (sample["mask"][:, :, 0] > 0, blue)]
        np.testing.assert_allclose(*found, atol=0.4)
    assert (samples[0]["mask"] != samples[1]["mask"]).mean() < 0.005


def test_a_large_png_is_decoded_in_place_and_equals_pillow(tmp_path: Path) -> None:
    image = draw_eye(2600, 1700, 800)
    path = save(tmp_path / "large.png", image)
    assert np.array_equal(read_photograph(path), image) and read_photograph(path).flags.writeable
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = save(tmp_path / "turned.png", image, exif=exif)  # Pillow's way, a band of rows at a time
    assert np.array_equal(read_photograph(turned), np.rot90(image, 2))


def _centres(plane: np.ndarray) -> np.ndarray:
    """Return the centres (x, y) of the three spots, from top to bottom."""
    centres = cv2.connectedComponentsWithStats(plane.astype(np.uint8))[3][1:]
    assert centres.shape == (3, 2)
    return centres
