from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from tiny_trees import photograph

from retinai.data.loading.augmentation import build_augmentation
from retinai.errors import ConfigError

CONF = Path(__file__).parents[3] / "conf" / "augment"
IMAGE = photograph(0, 96)


@pytest.mark.parametrize("name", ["standard", "strong"])
def test_shipped_pipelines_vary_and_repeat(name):
    augment = build_augmentation(yaml.safe_load((CONF / f"{name}.yaml").read_text()))
    outs = [augment(IMAGE, seed=(0, epoch, index, 0))[0] for epoch in range(2) for index in range(4)]
    assert all(out.shape == IMAGE.shape and out.dtype == np.uint8 for out in outs)
    assert len({out.tobytes() for out in outs}) > 6
    again = [augment(IMAGE, seed=(0, epoch, index, 0))[0] for epoch in range(2) for index in range(4)]
    assert all(np.array_equal(a, b) for a, b in zip(outs, again, strict=True))


def test_none_builds_nothing():
    assert build_augmentation(yaml.safe_load((CONF / "none.yaml").read_text())) is None
    assert build_augmentation(None) is None


def test_transforms_of_a_pipeline_draw_independently():
    augment = build_augmentation([{"name": n, "params": {"p": 0.5}} for n in ("HorizontalFlip", "VerticalFlip")])
    mark = np.zeros((8, 8, 3), np.uint8)
    mark[0, 0] = 255
    corners = {tuple(np.argwhere(augment(mark, seed=(0, 0, i, 0))[0][:, :, 0])[0]) for i in range(40)}
    assert corners == {(0, 0), (0, 7), (7, 0), (7, 7)}


@pytest.mark.parametrize("name", ["standard", "strong"])
def test_masks_move_with_the_photograph(name):
    """A white square that is its own mask is still its own mask afterwards."""
    spec = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    spatial = {"HorizontalFlip", "VerticalFlip", "Affine"}
    augment = build_augmentation([t for t in spec["transforms"] if t["name"] in spatial])
    mask = np.zeros((96, 96), np.uint8)
    mask[30:50, 40:75] = 1
    moved = 0
    for index in range(12):
        image, (out, empty) = augment(np.dstack([mask * 255] * 3), [mask, mask * 0], seed=(1, 0, index, 0))
        seen = image[:, :, 0] > 127
        overlap = np.logical_and(seen, out > 0).sum() / np.logical_or(seen, out > 0).sum()
        assert overlap > 0.9 and not empty.any() and set(np.unique(out)) <= {0, 1}
        moved += not np.array_equal(out, mask)
    assert moved > 8


def test_border_of_a_rotation_is_black():
    augment = build_augmentation(
        [{"name": "Affine", "params": {"rotate": [20, 20], "border_mode": "BORDER_CONSTANT", "p": 1}}]
    )
    image, _ = augment(np.full((64, 64, 3), 200, np.uint8), seed=(0,))
    assert image[0, 0].max() == 0 and image[32, 32].min() == 200
    # Oracle: the same rotation by OpenCV, but for the half pixel that the centres differ by.
    matrix = cv2.getRotationMatrix2D((31.5, 31.5), -20, 1)
    other = cv2.warpAffine(np.full((64, 64, 3), 200, np.uint8), matrix, (64, 64))
    assert abs(int((image == 0).sum()) - int((other == 0).sum())) < 0.05 * image.size


def test_all_faults_of_a_pipeline_are_told_at_once():
    spec = [
        {"name": "HorizontalFlop"},
        {"name": "Affine", "params": {"rotation": 20}},
        {"name": "RandomGamma", "params": {"p": 3}},
        {"params": {}},
    ]
    with pytest.raises(ConfigError) as caught:
        build_augmentation({"name": "own", "transforms": spec})
    first, second, third, fourth = caught.value.problems
    assert "'HorizontalFlop'" in first and "HorizontalFlip" in first
    assert "'rotation'" in second and "rotate" in second
    assert "RandomGamma" in third and "transforms[3]" in fourth
    with pytest.raises(ConfigError, match="transform"):
        build_augmentation({"transform": []})
