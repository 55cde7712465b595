"""What augmentation uncovers looks like what lies outside the field of view, whatever the preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from drawn_eye import draw_eye
from PIL import Image

from retinai.data.loading.augmentation import build_augmentation
from retinai.data.loading.dataset import FundusDataset
from retinai.data.loading.views import PhotographView
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing

CONF = Path(__file__).parents[3] / "conf" / "augment"
FLAT = ("RandomBrightnessContrast", "RGBShift", "HueSaturationValue", "RandomGamma", "GaussianBlur", "ImageCompression")
FILLING: list[tuple[str, dict[str, Any]]] = [
    ("Affine", {"rotate": [30, 30], "p": 1}),
    ("Rotate", {"limit": [30, 30], "p": 1}),
    ("Perspective", {"scale": [0.2, 0.2], "fit_output": True, "p": 1}),
    ("CoarseDropout", {"num_holes_range": [4, 4], "p": 1}),
    ("GridDropout", {"p": 1}),
    ("GridDistortion", {"p": 1}),
    ("ThinPlateSpline", {"scale_range": [0.5, 0.5], "p": 1}),
    ("PadIfNeeded", {"min_height": 96, "min_width": 96, "p": 1}),
]


def preprocessing(grey: bool, side: int = 64) -> Preprocessing:
    return Preprocessing(side, (0.5,) * 3, (0.5,) * 3, ben_graham=grey)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("name", "params"), FILLING, ids=[name for name, _ in FILLING])
def test_every_transform_fills_with_what_lies_outside(name: str, params: dict[str, Any], grey: bool) -> None:
    """A photograph that is 200 everywhere: everything else in the result was filled, and masks stay 0 there."""
    augment = build_augmentation([{"name": name, "params": params}])
    assert augment is not None
    outside = preprocessing(grey).outside
    image, (mask,) = augment(
        np.full((64, 64, 3), 200, np.uint8), [np.zeros((64, 64), np.uint8)], seed=(0,), outside=outside
    )
    assert outside == (128 if grey else 0) and set(np.unique(mask)) == {0}
    filled = image[(image != 200).all(axis=2)]
    assert len(filled) > 50 and np.median(filled) == outside
    assert filled.min() >= min(outside, 200)


def test_what_params_say_is_kept() -> None:
    augment = build_augmentation([{"name": "Rotate", "params": {"limit": [45, 45], "fill": 7, "p": 1}}])
    assert augment is not None
    image, _ = augment(np.full((64, 64, 3), 200, np.uint8), seed=(0,), outside=128)
    assert image[0, 0].tolist() == [7, 7, 7]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("name", ["standard", "strong", "upright"])
def test_shipped_pipelines_leave_no_wedges(name: str, grey: bool, tmp_path: Path) -> None:
    """The prepared photograph's corners lie outside the field of view, and so do those of its turned copies."""
    path = tmp_path / "eye.png"
    Image.fromarray(draw_eye(160, 160, 70, border=0)).save(path)
    spec = [t for t in yaml.safe_load((CONF / f"{name}.yaml").read_text())["transforms"] if t["name"] not in FLAT]
    ways = [preprocessing(grey), preprocessing(not grey, 48)]
    table = pd.DataFrame({"id": ["a"], "path": [str(path)], "target": [0]})
    dataset = FundusDataset(
        table, ways[0], augmentation=build_augmentation(spec), fields=[PhotographView("view_0", ways[1])]
    )
    for epoch in range(8):
        dataset.set_epoch(epoch)
        sample = dataset[0]
        for way, key in zip(ways, ("image", "view_0"), strict=True):
            plain = prepare_photograph(np.asarray(Image.open(path)), way)
            assert (plain[0, 0] == way.outside).all()
            corners = sample[key][[0, 0, -1, -1], [0, -1, 0, -1]]
            assert np.abs(corners.astype(int) - way.outside).max() <= 2
