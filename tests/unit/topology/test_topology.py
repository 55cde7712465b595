"""Persistence images against gudhi's general complex, its own persistence images, and by hand."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from drawn_eye import draw_eye
from gudhi import CubicalComplex
from gudhi.representations import PersistenceImage

from retinai.config.build import build
from retinai.data.loading.fields import FieldSample, SampleField
from retinai.data.photographs.original import Original
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.distillation.fields import TeacherField
from retinai.errors import ConfigError, MissingExtraError
from retinai.topology import persistence as topology
from retinai.topology.field import TopologyField
from retinai.topology.persistence import (
    TopologySettings,
    cubical_diagrams,
    filtrations,
    persistence_images,
)

SETTINGS = TopologySettings(size=96)


def prepared(seed: int = 0, side: int = 96, **options: Any) -> np.ndarray:
    preprocessing = Preprocessing(side, (0.5,) * 3, (0.5,) * 3, **options)
    return prepare_photograph(draw_eye(300, 200, 90, seed=seed), preprocessing)


def gudhis_diagrams(plane: np.ndarray) -> list[np.ndarray]:
    """Finite points of the general complex, sorted."""
    cubes = CubicalComplex(top_dimensional_cells=plane.astype(float))
    cubes.compute_persistence()
    found = [cubes.persistence_intervals_in_dimension(dimension) for dimension in (0, 1)]
    return [in_order(points[np.isfinite(points[:, 1])]) for points in found]


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(points.T)]


@pytest.mark.parametrize("channel", ["green", "grey"])
def test_diagrams_are_those_of_gudhis_general_complex(channel: str) -> None:
    for plane in filtrations(prepared(), replace(SETTINGS, channel=channel)):
        ours, theirs = cubical_diagrams(plane), gudhis_diagrams(plane)
        for mine, other in zip(ours, theirs, strict=True):
            assert len(mine) > 50
            np.testing.assert_array_equal(in_order(mine), other)
        least = cubical_diagrams(plane, 3.0)
        for mine, other in zip(least, theirs, strict=True):
            np.testing.assert_array_equal(in_order(mine), other[other[:, 1] - other[:, 0] > 3])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight": "constant", "min_persistence": 0.0, "sigma": 2.5},
        {"resolution": 16, "birth_range": [40, 200], "persistence_range": [5, 60], "channel": "grey"},
    ],
    ids=["default", "constant", "ranges"],
)
def test_images_are_those_of_gudhi(changes: dict[str, Any]) -> None:
    settings = replace(SETTINGS, **changes)
    photograph = prepared(1)
    images = persistence_images(photograph, settings)
    assert images.dtype == np.float32 and images.shape == (4, settings.resolution, settings.resolution)
    oracle = PersistenceImage(
        bandwidth=settings.sigma,
        weight=(lambda point: point[1]) if settings.weight == "linear" else (lambda point: 1.0),
        resolution=[settings.resolution] * 2,
        im_range=[*settings.birth_range, *settings.persistence_range],
    )
    diagrams = [points for plane in filtrations(photograph, settings) for points in gudhis_diagrams(plane)]
    for image, points in zip(images, diagrams, strict=True):
        kept = points[points[:, 1] - points[:, 0] > settings.min_persistence]
        expected = oracle(kept).reshape(image.shape)
        assert expected.max() > 0.01
        np.testing.assert_allclose(image, expected, rtol=1e-5, atol=1e-7)


def spotted() -> np.ndarray:
    """A retina of level 100 with dark spots of levels 60, 70, 80 and bright ones of 150 and 170, on black."""
    image = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(image, (100, 100), 95, (100, 100, 100), -1)
    for x, y, level in ((60, 60, 60), (100, 60, 70), (140, 60, 80), (70, 140, 150), (130, 140, 170)):
        cv2.circle(image, (x, y), 5, (level, level, level), -1)
    return image


def test_spots_are_points_by_hand() -> None:
    below, above = filtrations(spotted(), TopologySettings(size=200))
    outside = below[0, 0], above[0, 0]
    assert outside == (255, 255)  # enters last in both
    assert (below[100, 100], above[100, 100]) == (100, 155)
    # The darkest spot is the component that never dies; the bright ones are holes until they fill.
    assert [in_order(d).tolist() for d in cubical_diagrams(below)] == [[[70, 100], [80, 100]], [[100, 150], [100, 170]]]
    assert [in_order(d).tolist() for d in cubical_diagrams(above)] == [
        [[105, 155]],
        [[155, 175], [155, 185], [155, 195]],
    ]


def test_a_spot_shows_where_its_birth_and_persistence_are() -> None:
    settings = TopologySettings(size=200, sigma=6.0)
    image = persistence_images(spotted(), settings)[3]  # (155, 20), (155, 30), (155, 40)
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert column == round(155 / 255 * 31) and 30 / 128 * 31 <= row <= 40 / 128 * 31


def test_brightness_outside_the_field_of_view_changes_nothing() -> None:
    clean = spotted()
    noisy = clean.copy()
    noisy[:12, :12] = np.random.default_rng(0).integers(0, 9, (12, 12, 3))
    settings = TopologySettings(size=200)
    np.testing.assert_array_equal(persistence_images(noisy, settings), persistence_images(clean, settings))


def test_the_field_of_view_is_found_in_prepared_pixels_whatever_the_contrast() -> None:
    masks = [topology.field_of_view(prepared(2, 224, **o)) for o in ({}, {"ben_graham": True}, {"clahe": True})]
    assert 0.97 < masks[0].sum() / (np.pi * 112**2) < 1  # the disc fills the square
    assert prepared(2, 224)[masks[0]][:, 0].min() > 90  # retina 190, vessels 110: no half-dark edge
    for mask in masks[1:]:
        assert (mask & masks[0]).sum() > 0.97 * (mask | masks[0]).sum()


def test_without_a_field_of_view_all_pixels_count() -> None:
    assert topology.field_of_view(np.zeros((64, 64, 3), np.uint8)).all()
    lit = np.random.default_rng(0).integers(90, 110, (64, 64, 3)).astype(np.uint8)
    assert topology.field_of_view(lit)[1:-1, 1:-1].all()  # the frame lies inside the retina
    assert persistence_images(np.zeros((64, 64, 3), np.uint8), SETTINGS).max() == 0


def test_other_releases_of_gudhi_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = persistence_images(prepared(), SETTINGS)
    monkeypatch.setattr(topology, "_RECTANGLE", ("gudhi._pers_cub_of_another_release",))
    topology.engine.cache_clear()
    try:
        with pytest.warns(UserWarning, match="takes longer"):
            assert topology.engine() is topology.general_diagrams
        np.testing.assert_array_equal(persistence_images(prepared(), SETTINGS), expected)
    finally:
        topology.engine.cache_clear()


def test_missing_gudhi_prints_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gudhi", None)  # as Python itself marks what cannot be imported
    topology.engine.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match=r'pip install "retinai\[topology\]"'):
            TopologyField(SETTINGS)
    finally:
        topology.engine.cache_clear()


def test_the_key_knows_what_decides_the_images() -> None:
    base = TopologySettings()
    changed = {
        "channel": "grey", "size": 200, "resolution": 16, "birth_range": [0, 200], "persistence_range": [0, 100],
        "sigma": 3, "weight": "constant", "min_persistence": 1,
    }  # fmt: skip
    keys = {replace(base, **{name: value}).key() for name, value in changed.items()}
    assert len(keys | {base.key()}) == len(changed) + 1
    same = TopologySettings(sigma=4, birth_range=[0, 255], fusion="gated", hidden=[64], width=8, dropout=0.5)
    assert same.key() == base.key()


def test_settings_survive_plain_values() -> None:
    settings = TopologySettings(sigma=3, hidden=[64, 32])
    values = settings.to_dict()
    assert values["hidden"] == [64, 32] and type(values["sigma"]) is float
    assert TopologySettings.from_dict({"_target_": "retinai.topology.settings.TopologySettings", **values}) == settings
    assert not TopologySettings(name="none").on and settings.on


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "rips"), ("channel", "red"), ("size", 8), ("size", 224.5), ("resolution", 1), ("birth_range", [9, 3]),
        ("birth_range", 255), ("persistence_range", [0, 300]), ("sigma", 0), ("weight", "cubic"), ("fusion", "sum"),
        ("min_persistence", -1), ("hidden", [0]), ("hidden", "wide"), ("width", 0), ("dropout", 1.0),
    ],
)  # fmt: skip
def test_senseless_settings_are_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"topology\.{key}="):
        TopologySettings(**{key: value})


def test_unknown_keys_are_refused_with_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match=r"'chanel' \(valid: .*channel"):
        TopologySettings.from_dict({"chanel": "green"})


def test_the_field_computes_collates_travels_to_workers_and_is_made_again() -> None:
    field = pickle.loads(pickle.dumps(TopologyField(SETTINGS)))
    pre = Preprocessing(96, (0.5,) * 3, (0.5,) * 3)
    samples = [FieldSample("a", "nowhere.png", pre, photograph=prepared(seed)) for seed in range(3)]
    batch = field.collate([field.load(sample) for sample in samples])
    assert batch.shape == (3, *field.shape) == (3, 4, 32, 32) and batch.dtype == np.float32
    np.testing.assert_array_equal(batch[1], persistence_images(prepared(1), SETTINGS))
    again = build(field.to_dict(), SampleField)
    assert isinstance(again, TopologyField) and (again.settings, again.key()) == (SETTINGS, field.key())


def test_the_field_of_another_network_sees_the_photograph_as_that_network_does() -> None:
    """A teacher of the same side, but with more contrast: the images are those of its own pixels."""
    original = draw_eye(300, 200, 90, seed=0)
    pre = Preprocessing(96, (0.5,) * 3, (0.5,) * 3)
    other = replace(pre, clahe=True)
    sample = FieldSample("a", "nowhere.png", pre, original=Original(original, "a"))
    expected = persistence_images(prepare_photograph(original, other), SETTINGS)
    np.testing.assert_array_equal(TeacherField(TopologyField(SETTINGS), other).load(sample), expected)
    assert not np.array_equal(TopologyField(SETTINGS).load(sample), expected)
