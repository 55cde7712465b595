"""The verdict on quality: degradations that were drawn are its truth, photographs of the test part its judges."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from sklearn.metrics import roc_auc_score

from retinai.data.photographs.field_of_view import find_field_of_view
from retinai.data.photographs.images import read_photograph
from retinai.quality import Quality, judge
from retinai.quality.degradations import KINDS, degrade
from retinai.quality.files import judge_files
from retinai.quality.verdict import NO_RETINA, REASONS

# What is told as another fault counts as right where both are true of the photograph.
ALIKE = {
    "defocus": {"defocus", "motion", "jpeg", "haze"},
    "motion": {"motion", "defocus", "jpeg"},
    "jpeg": {"jpeg", "defocus", "motion", "uneven"},
    "dark": {"dark", "uneven"},
    "uneven": {"uneven", "dark", "cut"},
    "cut": {"cut", "uneven"},
    "haze": {"haze", "bright"},
    "bright": {"bright", "haze"},
}
SEVERITIES = (0, 1, 3, 5)


def verdict(image: np.ndarray) -> Quality:
    return judge(image, find_field_of_view(image))


@pytest.fixture(scope="module")
def held_out(idrid_root: Path) -> list[np.ndarray]:
    """Photographs of the test part, none of which the model was fitted on."""
    files = sorted((idrid_root / "B. Disease Grading/1. Original Images/b. Testing Set").glob("*.jpg"))
    return [read_photograph(file) for file in files[::3]]


@pytest.fixture(scope="module")
def judged(held_out: list[np.ndarray]) -> dict[tuple[str, int], list[Quality]]:
    """(Kind, severity) -> what is said of each photograph; severity 0 of any kind is the photograph itself."""
    views = [find_field_of_view(image) for image in held_out]

    def all_at(kind: str, severity: int) -> list[Quality]:
        return [
            verdict(degrade(image, kind, severity, i, view))
            for i, (image, view) in enumerate(zip(held_out, views, strict=True))
        ]

    found = {(kind, severity): all_at(kind, severity) for kind in KINDS for severity in SEVERITIES[1:]}
    plain = [judge(image, view) for image, view in zip(held_out, views, strict=True)]
    return {(kind, 0): plain for kind in KINDS} | found


@pytest.fixture(scope="module")
def scores(judged: dict[tuple[str, int], list[Quality]]) -> dict[str, np.ndarray]:
    """Kind -> scores, shape (photographs, severities)."""
    return {
        kind: np.array([[quality.score for quality in judged[kind, severity]] for severity in SEVERITIES]).T
        for kind in KINDS
    }


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_score_rises_with_severity(scores: dict[str, np.ndarray], kind: str) -> None:
    means = scores[kind].mean(axis=0)
    assert (np.diff(means) > -0.02).all() and means[-1] > means[0] + 0.3


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "jpeg"])
def test_what_is_bad_is_told_from_what_is_good(scores: dict[str, np.ndarray], kind: str) -> None:
    good, bad = scores[kind][:, :2].ravel(), scores[kind][:, 2:].ravel()
    assert roc_auc_score(np.repeat([0, 1], [len(good), len(bad)]), np.concatenate([good, bad])) >= 0.9


def test_good_photographs_are_not_rejected(judged: dict[tuple[str, int], list[Quality]]) -> None:
    found = judged["defocus", 0]
    assert sum(quality.verdict == "reject" for quality in found) <= 1  # 2 % of 13
    assert all(not quality.reason for quality in found if quality.verdict == "good")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "jpeg"])  # compression is found late
def test_the_reason_names_what_was_done(judged: dict[tuple[str, int], list[Quality]], kind: str) -> None:
    found = judged[kind, 5]
    named = [quality.fault in ALIKE[kind] | {NO_RETINA} for quality in found]
    assert np.mean(named) >= 0.8 and all(quality.verdict != "good" for quality in found)


def test_flips_change_nothing(held_out: list[np.ndarray]) -> None:
    for image in held_out[:4]:
        plain = verdict(image)
        for flipped in (image[:, ::-1], image[::-1]):
            assert verdict(np.ascontiguousarray(flipped)).score == pytest.approx(plain.score, abs=0.03)


def masked(picture: np.ndarray) -> np.ndarray:
    """A picture as a disc on black, as a fundus camera would frame it."""
    side = min(picture.shape[:2])
    square = cv2.resize(picture[:side, :side, :3], (600, 600))
    y, x = np.mgrid[:600, :600]
    square[(x - 300) ** 2 + (y - 300) ** 2 > 290**2] = 0
    return square


@pytest.mark.parametrize("name", ["chelsea", "page", "coffee", "moon", "astronaut", "immunohistochemistry"])
@pytest.mark.parametrize("disc", [False, True], ids=["frame", "disc"])
def test_what_is_no_retina_is_told(name: str, disc: bool) -> None:
    picture = getattr(skimage.data, name)()
    colour = np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else np.ascontiguousarray(picture[:, :, :3])
    assert verdict(masked(colour) if disc else colour).fault == NO_RETINA


def test_a_section_through_the_retina_is_no_photograph_of_it() -> None:
    y, x = np.mgrid[:496, :768]
    surface = 180 + 40 * np.exp(-(((x - 384) / 90) ** 2))
    layers = 60 + 120 * np.exp(-(((y - surface - 40) / 30) ** 2)) + 60 * np.exp(-(((y - surface - 110) / 12) ** 2))
    speckle = np.random.default_rng(0).gamma(4, 0.25, layers.shape)
    oct_scan = np.clip(layers * speckle, 0, 255).astype(np.uint8)
    assert verdict(np.repeat(oct_scan[:, :, None], 3, axis=2)).fault == NO_RETINA


def test_a_retina_of_another_camera_is_one() -> None:
    assert verdict(np.ascontiguousarray(skimage.data.retina())).fault != NO_RETINA


def test_native_and_reduced_photographs_get_one_verdict(idrid_root: Path) -> None:
    native = sorted((idrid_root.parent / "idrid_native_sample").glob("IDRiD_*.jpg"))
    if not native:
        pytest.skip("the native photographs are not there")
    found = judge_files([str(path) for path in native], workers=0)
    assert all(quality is not None and quality.verdict != "reject" for quality in found)


def test_files_that_cannot_be_read_have_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no photograph")
    assert judge_files([str(tmp_path / "text.png"), str(tmp_path / "gone.png")], workers=0) == [None, None]


def test_every_fault_has_its_words() -> None:
    assert set(REASONS) == {*KINDS, NO_RETINA}
    with pytest.raises(ValueError, match="no degradation"):
        degrade(np.zeros((8, 8, 3), np.uint8), "rain", 1)
    image = np.zeros((8, 8, 3), np.uint8)
    assert all(degrade(image, kind, 0) is image for kind in KINDS)
