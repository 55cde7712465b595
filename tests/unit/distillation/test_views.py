"""The same augmented photograph for a student and its teachers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tiny_trees import PREPROCESSING, write_aptos, write_image

from retinai.data.loading.augmentation import build_augmentation
from retinai.data.loading.dataset import FundusDataset
from retinai.data.loading.loader import make_loader
from retinai.data.loading.samplers import SampleKey
from retinai.data.loading.views import PhotographView, check_views
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.sources.aptos import AptosDataModule
from retinai.data.sources.label_table import as_targets
from retinai.errors import ConfigError
from retinai.tasks.known import DR_GRADE

PRE = Preprocessing.from_dict(PREPROCESSING)
LARGE = replace(PRE, input_size=80, mean=(0.4, 0.3, 0.2), std=(0.25, 0.2, 0.15))
SMALL = replace(PRE, input_size=20)
AUGMENTS = Path(__file__).parents[3] / "conf" / "augment"
AUGMENT = [
    {"name": "HorizontalFlip", "params": {"p": 0.5}},
    {"name": "Affine", "params": {"rotate": [-20, 20], "p": 1}},
]


def views(*ways: Preprocessing, **options: Any) -> list[PhotographView]:
    return [PhotographView(f"view_{number}", way, **options) for number, way in enumerate(ways)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("photographs")
    paths = [str(write_image(root / f"p{i}.png", i)) for i in range(4)]
    return pd.DataFrame({"id": [f"p{i}" for i in range(4)], "path": paths, "target": as_targets([0, 1, 2, 3])})


@pytest.mark.parametrize("spec", [AUGMENT, *("standard", "strong", "upright")], ids=str)
def test_each_network_sees_the_pixels_that_it_would_see_alone(table: pd.DataFrame, spec: Any) -> None:
    """A student that is taught trains on the pixels of a student alone, its teacher on the teacher's."""
    pipeline = build_augmentation(yaml.safe_load((AUGMENTS / f"{spec}.yaml").read_text()) if spec != AUGMENT else spec)
    taught = FundusDataset(table, PRE, augmentation=pipeline, seed=3, fields=views(LARGE, SMALL))
    for key, preprocessing in (("image", PRE), ("view_0", LARGE), ("view_1", SMALL)):
        alone = FundusDataset(table, preprocessing, augmentation=pipeline, seed=3)
        for draw in (SampleKey(2, 1, 0), SampleKey(0, 3, 1)):
            assert np.array_equal(taught[draw][key], alone[draw]["image"])


def test_two_sizes_are_moved_alike(tmp_path: Path) -> None:
    """A marked corner of the eye is at the same place in both, whatever noise is drawn before the move."""
    mark = np.zeros((400, 400, 3), np.uint8)
    cv2.circle(mark, (140, 110), 40, (255, 255, 255), -1)
    cv2.imwrite(str(tmp_path / "mark.png"), mark)
    table = pd.DataFrame({"id": ["m"], "path": [str(tmp_path / "mark.png")], "target": as_targets([0])})
    whole = [replace(p, crop="none") for p in (PRE, LARGE)]
    pipeline = build_augmentation([{"name": "GaussNoise", "params": {"std_range": [0.02, 0.05], "p": 0.7}}, *AUGMENT])
    dataset = FundusDataset(table, whole[0], augmentation=pipeline, fields=views(*whole[1:]))
    places = []
    for epoch in range(12):
        sample = dataset[SampleKey(epoch, 0, 0)]
        marked = [sample[key].mean(axis=2) > 128 for key in ("image", "view_0")]
        centres = [(np.argwhere(seen).mean(axis=0) + 0.5) / len(seen) for seen in marked]
        assert np.abs(centres[0] - centres[1]).max() < 0.02
        places.append(tuple(centres[0].round(2)))
    assert len(set(places)) > 6


def test_a_batch_carries_every_view_with_its_own_normalisation(table: pd.DataFrame) -> None:
    dataset = FundusDataset(table, PRE, augmentation=build_augmentation(AUGMENT), seed=3, fields=views(LARGE, SMALL))
    batch = next(iter(make_loader(dataset, DR_GRADE, batch_size=4)))
    assert {k: tuple(batch[k].shape) for k in ("image", "view_0", "view_1")} == {
        "image": (4, 3, 32, 32), "view_0": (4, 3, 80, 80), "view_1": (4, 3, 20, 20),
    }  # fmt: skip
    back = batch["view_0"] * torch.tensor(LARGE.std).view(3, 1, 1) + torch.tensor(LARGE.mean).view(3, 1, 1)
    expected = np.stack([dataset[i]["view_0"] for i in range(4)]).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(back.numpy(), expected, atol=1e-6)


def test_a_taught_student_trains_on_photographs_as_sharp_as_those_it_is_tested_on(idrid_root: Path) -> None:
    """Real photographs: the deviation of the Laplacian of a training input equals that of a test input."""
    paths = sorted(map(str, (idrid_root / "B. Disease Grading").rglob("*.jpg")))[:3]
    photographs = pd.DataFrame({"id": paths, "path": paths, "target": as_targets([0, 1, 2])})
    test = FundusDataset(photographs, replace(PRE, input_size=160))
    train = FundusDataset(photographs, replace(PRE, input_size=160), fields=views(replace(PRE, input_size=320)))
    for index in range(3):
        sharp = [cv2.Laplacian(d[index]["image"], cv2.CV_64F).std() for d in (train, test)]
        assert sharp[0] == pytest.approx(sharp[1], rel=0.01)


def test_only_training_has_views_and_each_size_has_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(write_aptos(tmp_path / "aptos", [i % 5 for i in range(40)]))
    common = {"root": root, "preprocessing": PRE, "cache": tmp_path / "cache", "num_workers": 0, "batch_size": 4}
    datamodule = AptosDataModule(**common, fields=[PhotographView("view_0", LARGE.to_dict(), splits=("train",))])
    assert "view_0" in next(iter(datamodule.train_dataloader()))
    assert "view_0" not in next(iter(datamodule.val_dataloader()))
    dataset = datamodule.dataset("train")
    caches = [dataset.cache.with_preprocessing(way) for way in (PRE, LARGE)]
    expected = [dataset[0]["image"], dataset[0]["view_0"]]
    for cache in caches:
        cache.prepare(dataset.paths, workers=0, progress=None)
    Path(dataset.paths[0]).touch()  # still the same content, so both sizes are found
    assert all(cache.load(dataset.paths[0]) is not None for cache in caches)
    monkeypatch.setattr("retinai.data.photographs.original.decode_photograph", lambda *_: pytest.fail("decoded again"))
    assert all(np.array_equal(a, b) for a, b in zip(expected, [dataset[0]["image"], dataset[0]["view_0"]], strict=True))


def test_another_part_of_the_eye_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"set data\.preprocess\.crop=none"):
        check_views(PRE, [replace(LARGE, ben_graham=True, crop="none")])
    check_views(PRE, [replace(LARGE, clahe=True)])
