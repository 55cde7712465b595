"""From probabilities to class maps, their numbers and regions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from retinai.data.photographs.field_of_view import whole_frame
from retinai.vessels.class_map import inside_mask, measure_vessels, overlay, regions
from retinai.vessels.resampling import CubicResize
from retinai.vessels.wnet import classify_kinds, classify_vessels, flip_mean

CLASSES = np.array([[0, 1, 1, 2], [3, 0, 0, 2]], np.uint8)


class Uneven(nn.Module):
    """Logits that a flip changes: the input plus a ramp."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.arange(x.shape[-1]) * 0.3 + torch.arange(x.shape[-2])[:, None] * 0.2
        return torch.stack([x[:, 0] * (k + 1) + ramp * k for k in range(1, self.classes + 1)], dim=1)


@pytest.mark.parametrize("classes", [1, 4])
def test_probabilities_are_averaged_over_flips_turned_back(classes: int) -> None:
    torch.manual_seed(0)
    model, square = Uneven(classes), torch.rand(1, 3, 6, 8)
    found = flip_mean(model, square)  # type: ignore[arg-type]
    expected = np.zeros((classes, 6, 8))
    for down in (1, -1):
        for across in (1, -1):
            logits = model(torch.from_numpy(square.numpy()[:, :, ::down, ::across].copy()))[0].numpy().astype(float)
            chances = 1 / (1 + np.exp(-logits)) if classes == 1 else np.exp(logits) / np.exp(logits).sum(axis=0)
            expected += chances[:, ::down, ::across] / 4
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("background", "uncertain", "artery", "vein", "expected"),
    [
        (0.2, 0.0, 0.5, 0.3, 1),
        (0.2, 0.0, 0.3, 0.5, 2),
        (0.4, 0.28, 0.3, 0.02, 1),  # .3 + .14 is more than .4
        (0.6, 0.2, 0.2, 0.0, 0),  # .3 is less
        (0.2, 0.5, 0.2, 0.1, 3),  # a vessel, says the network, of a kind that it cannot tell
        (0.45, 0.5, 0.05, 0.0, 0),  # .05 + .25 is less than .45: no vessel of either kind
    ],
)
def test_classes_of_probabilities(
    background: float, uncertain: float, artery: float, vein: float, expected: int
) -> None:
    values = [np.array([[v]]) for v in (background, uncertain, artery, vein)]
    assert classify_kinds(values).tolist() == [[expected]]


def test_every_vessel_of_the_network_without_kinds_is_uncertain() -> None:
    assert classify_vessels([np.array([0.1, 0.42, 0.43, 0.9])]).tolist() == [0, 0, 3, 3]


@pytest.mark.parametrize("size", [(301, 270), (96, 96), (60, 140), (33, 41)])
def test_resizing_is_that_of_skimage(size: tuple[int, int]) -> None:
    transform = pytest.importorskip("skimage.transform")
    maps = np.random.default_rng(0).random((2, 96, 96)).astype(np.float32)
    resized = CubicResize(maps, *size)
    for number in (0, 1):
        expected = transform.resize(maps[number], size, order=3)
        bands = [resized.rows(top, min(top + 50, size[0]))[number] for top in range(0, size[0], 50)]
        np.testing.assert_allclose(np.concatenate(bands), expected, atol=2e-6)


def test_numbers_of_a_class_map() -> None:
    inside = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], bool)
    numbers = measure_vessels(CLASSES, inside)
    assert (numbers.density, numbers.artery, numbers.vein, numbers.uncertain) == (4 / 7, 2 / 7, 1 / 7, 1 / 4)
    assert np.isnan(measure_vessels(np.zeros((2, 4), np.uint8), inside).uncertain)


def test_crossings_belong_to_arteries_and_to_veins() -> None:
    found = regions(CLASSES)
    assert {name: int(region.sum()) for name, region in found.items()} == {"vessels": 5, "arteries": 3, "veins": 3}
    assert list(regions(np.array([[0, 3]], np.uint8))) == ["vessels"]  # a method that cannot tell them apart


def test_an_overlay_colours_vessels_and_nothing_else() -> None:
    photograph = np.full((2, 4, 3), 100, np.uint8)
    shown = overlay(photograph, CLASSES)
    assert (shown[CLASSES == 0] == 100).all()
    assert shown[0, 1].argmax() == 0 and shown[0, 3].argmax() == 2 and shown[1, 0].argmax() == 1


def test_a_whole_frame_is_inside() -> None:
    assert inside_mask(whole_frame(5, 7), 5, 7).all()
