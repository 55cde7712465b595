"""The measure is tried on drawn eyes with known arteries and veins, and with maps whose answer is known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from module_factory import make_classifier, section

from retinai.explain.layers import find_layer
from retinai.explain.methods import Question, all_maps
from retinai.explain.regions import RegionMeter, measure_maps
from retinai.synthetic.photograph import Findings, draw_photograph

SIDE = 224
FAMILY = {"vessels": ("vessels", "arteries", "veins")}


@pytest.fixture(scope="module")
def eyes() -> list[dict[str, Any]]:
    """Photograph, field of view, and true vessels of five eyes."""
    found = []
    for seed in range(5):
        eye = draw_photograph(np.random.default_rng(seed), Findings(), "square", SIDE, seed % 2 == 1)
        x, y = eye.frame.grid()
        artery, vein = eye.masks["artery"], eye.masks["vein"]
        masks = {"vessels": artery | vein, "arteries": artery, "veins": vein}
        found.append({"image": eye.image, "inside": np.hypot(x, y) <= 1, "masks": masks})
    return found


def measured(eyes: list[dict[str, Any]], maps: list[np.ndarray]) -> dict[str, dict[str, Any]]:
    meter = RegionMeter(FAMILY)
    for number, (eye, saliency) in enumerate(zip(eyes, maps, strict=True)):
        measure_maps({"": meter}, str(number), str(number), {"": saliency}, eye["masks"], eye["inside"])
    return meter.results(0)


def in_cells(mask: np.ndarray, cells: int) -> np.ndarray:
    return cv2.resize(mask.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(("seen", "other"), [("arteries", "veins"), ("veins", "arteries")])
def test_a_map_of_one_kind_is_told_from_one_of_the_other(eyes: list[dict[str, Any]], seen: str, other: str) -> None:
    only = [eye["masks"][seen] & ~eye["masks"][other] for eye in eyes]
    fine = measured(eyes, [in_cells(mask, 56) for mask in only])
    assert fine[seen]["pooled"]["value"] > 1.5 * fine[other]["pooled"]["value"] and fine[seen]["p"] < 0.01
    coarse = measured(eyes, [in_cells(mask, 7) for mask in only])
    # Both kinds run side by side: a map of seven cells cannot tell them apart, however true it is.
    assert coarse[seen]["pooled"]["value"] < 1.25 * coarse[other]["pooled"]["value"]
    assert coarse["vessels"]["p"] < 0.05


@pytest.mark.parametrize(("place", "below"), [(0.7, False), (0.8, False), (0.92, True)])
def test_a_stamp_is_not_significant_wherever_it_lies(eyes: list[dict[str, Any]], place: float, below: bool) -> None:
    """At the rim every ratio is below 1; among the arcades it is not, for vessels crowd there, and p says so."""
    y, x = np.mgrid[:SIDE, :SIDE]
    middle = SIDE / 2 * (1 - place / np.sqrt(2))
    stamp = np.exp(-((x - middle) ** 2 + (y - middle) ** 2) / (2 * (SIDE / 20) ** 2))
    found = measured(eyes, [stamp] * len(eyes))
    assert all(figures["p"] > 0.1 for figures in found.values()), found
    assert all((figures["pooled"]["value"] < 1) == below for figures in found.values()), found


@pytest.mark.parametrize("seed", [0, 1])
def test_a_network_with_random_weights_is_not_significant(eyes: list[dict[str, Any]], seed: int) -> None:
    module = make_classifier(
        backbone=section("backbone", "resnet18", weights="none", input_size=SIDE),
        preprocessing={"input_size": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3},
        seed=seed,
    ).eval()
    images = torch.stack([torch.from_numpy(eye["image"]).permute(2, 0, 1) for eye in eyes]).float() / 127.5 - 1
    inside = torch.stack([torch.from_numpy(eye["inside"]) for eye in eyes])
    layer = find_layer(module.network.encoder, "last")
    question = Question(module, (images,), torch.zeros(len(eyes), 1, dtype=torch.int64), inside, layer)
    found = measured(eyes, list(all_maps(question, ["layercam"])["layercam"][:, 0].numpy()))
    assert all(figures["p"] > 0.05 for figures in found.values()), found
    assert all(0.9 < figures["excess"] < 1.1 for figures in found.values()), found
