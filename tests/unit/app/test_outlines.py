"""Outlines lie where the masks lie on the picture that is shown, and can be switched by kind."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from retinai.app.outlines import outlines, place_of_square
from retinai.app.rendering import _environment, inline
from retinai.app.texts import LANGUAGES, load_texts
from retinai.app.upload import Upload, read_upload
from retinai.data.photographs.original import Original
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.lesions.pixel_metrics import MASK_NAMES

CENTRE, SPOT = (330, 210), (400, 150)


def retina() -> np.ndarray:
    """A field of view that is off the middle of its frame, with one bright green spot."""
    image = np.zeros((440, 700, 3), np.uint8)
    cv2.circle(image, CENTRE, 190, (150, 70, 40), -1)
    noise = np.random.default_rng(0).integers(-10, 10, image.shape)
    image = np.where(image > 0, np.clip(image.astype(int) + noise, 1, 255), 0).astype(np.uint8)
    cv2.circle(image, SPOT, 8, (20, 255, 20), -1)
    return image


@pytest.mark.parametrize("crop", ["fov", "none"])
def test_an_outline_lies_around_what_was_found(crop: str) -> None:
    settings = Preprocessing(256, (0.5,) * 3, (0.5,) * 3, crop=crop)
    image = retina()
    done, data = cv2.imencode(".png", image[:, :, ::-1])
    assert done
    copy = Original(data.tobytes(), "drawn").copy_for(settings)
    square = prepare_photograph(copy.pixels, settings, copy.found_for(settings))
    plane = (square[:, :, 1].astype(float) - square[:, :, 0] > 80).astype(np.float32)
    found = outlines(
        {"spot": plane, "nothing": 0 * plane}, {"spot": 0.5, "nothing": 0.5}, place_of_square(copy, settings)
    )
    assert found["nothing"] == () and len(found["spot"]) == 1
    points = np.array([[float(v) for v in pair.split(",")] for pair in found["spot"][0].split()]) / 100
    left, top, width, height = copy.field_of_view.box  # what the preview shows
    middle = points.mean(axis=0) * (width, height) + (left, top)
    np.testing.assert_allclose(middle, SPOT, atol=2)
    size = np.ptp(points, axis=0) * (width, height)
    np.testing.assert_allclose(size, 16, atol=7)


def test_an_upload_carries_the_square_between_processes() -> None:
    small, large = (Preprocessing(side, (0.5,) * 3, (0.5,) * 3) for side in (64, 256))
    done, data = cv2.imencode(".png", retina()[:, :, ::-1])
    assert done
    given = read_upload(data.tobytes(), small, (), large)
    again = Upload.from_bytes(given.to_bytes())
    assert again.square is not None and again.square.shape == (256, 256, 3) and again.place == given.place
    plain = Upload.from_bytes(read_upload(data.tobytes(), small, ()).to_bytes())
    assert plain.square is None and plain.place is None


@pytest.mark.parametrize("code", LANGUAGES)
def test_each_kind_has_a_switch_and_a_name(code: str) -> None:
    t = load_texts(code)
    shown = [{"key": n, "name": t.mask_name(n), "regions": ("1,2 3,4 5,6",) * i} for i, n in enumerate(MASK_NAMES)]
    eye = {"name": "x", "picture": inline(b"jpeg"), "outlines": shown, "action": "routine", "reasons": [], "bars": []}
    card = _environment().from_string("{% from 'macros.html.j2' import eye_card %}{{ eye_card(eye, t) }}")
    html = card.render(eye=eye, t=t)
    assert html.count("<polygon") == sum(range(len(MASK_NAMES))) and html.count('type="checkbox"') == len(MASK_NAMES)
    assert len(re.findall(r"checked disabled", html)) == 1  # of the kind that was not found
    assert all(t.mask_name(name) in html and t.mask_name(name) != name for name in MASK_NAMES)
    assert "<svg" not in card.render(eye={**eye, "outlines": []}, t=t)
