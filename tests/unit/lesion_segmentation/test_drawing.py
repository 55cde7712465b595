"""The decoder and its loss, the parts that are learned from, and the way back to the photograph."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from module_factory import section
from tiny_trees import PREPROCESSING, photograph
from torch.nn.modules.batchnorm import _BatchNorm

from retinai.data.loading.augmentation import build_augmentation
from retinai.data.loading.fields import FieldSample
from retinai.data.photographs.original import Original
from retinai.data.photographs.prepared_pixels import prepare_masks, to_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.encoders.encoder import build_encoder
from retinai.lesion_segmentation.decoder import MaskDecoder, mask_loss
from retinai.lesion_segmentation.fields import LesionCrops
from retinai.lesion_segmentation.module import running_statistics
from retinai.lesion_segmentation.reading import findings_from
from retinai.lesions.findings import LESION_NAMES, measure_findings
from retinai.lesions.pixel_metrics import MASK_NAMES
from retinai.llava.text.prompts import PromptTemplates
from retinai.tasks.known import DR_GRADE

SMALL = Preprocessing.from_dict(PREPROCESSING)
LARGE = Preprocessing.from_dict({**PREPROCESSING, "input_size": 96})
MOVES = [{"name": "HorizontalFlip", "params": {"p": 0.5}}]


def test_the_loss_is_that_of_a_hand_calculation() -> None:
    logits = torch.tensor([[[[0.0, 2.0]], [[-1.0, -3.0]]]])
    masks = torch.tensor([[[[0.0, 1.0]], [[0.0, 0.0]]]])
    p = [[0.5, 1 / (1 + math.exp(-2))], [1 / (1 + math.e), 1 / (1 + math.exp(3))]]
    cross = -(math.log(1 - p[0][0]) + math.log(p[0][1]) + math.log(1 - p[1][0]) + math.log(1 - p[1][1])) / 4
    dice = [(2 * p[0][1] + 1) / (sum(p[0]) + 1 + 1), 1 / (sum(p[1]) + 1)]
    assert mask_loss(logits, masks).item() == pytest.approx(cross + 1 - sum(dice) / 2, rel=1e-6)
    assert mask_loss((masks - 0.5) * 60, masks).item() == pytest.approx(0, abs=1e-6)


def test_the_decoder_learns_through_the_encoder_and_leaves_its_statistics() -> None:
    encoder = build_encoder(section("backbone", "resnet18", weights="none", architecture="test_resnet", input_size=32))
    decoder = MaskDecoder(encoder.pyramid_channels, 8, len(MASK_NAMES))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with running_statistics(encoder.train()):
        logits = decoder(encoder.pyramid(torch.randn(2, 3, 40, 48)), (40, 48))
    mask_loss(logits, torch.ones_like(logits)).backward()
    assert logits.shape == (2, len(MASK_NAMES), 40, 48) and logits.dtype == torch.float32
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert all(part.training for part in encoder.modules() if isinstance(part, _BatchNorm))
    first = next(encoder.parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0
    assert all(weight.grad is not None for weight in decoder.parameters())
    # Before anything is learned, next to nothing is drawn.
    assert torch.sigmoid(logits).mean().item() == pytest.approx(0.01, abs=0.01)


def test_spots_are_learned_in_a_few_steps() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(section("backbone", "resnet18", weights="none", architecture="test_resnet", input_size=32))
    decoder = MaskDecoder(encoder.pyramid_channels, 8, 2)
    masks = torch.zeros(4, 2, 48, 48)
    for number, (row, column) in enumerate(((5, 8), (20, 30), (33, 12), (12, 40))):
        masks[number, 0, row : row + 6, column : column + 6] = 1  # the second mask is empty everywhere
    images = torch.randn(4, 3, 48, 48) * 0.1 + masks[:, :1] * 2
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=5e-3)
    for _ in range(60):
        with running_statistics(encoder):
            loss = mask_loss(decoder(encoder.pyramid(images), (48, 48)), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    guessed = decoder(encoder.pyramid(images), (48, 48)) > 0
    assert 2 * (guessed[:, 0] & (masks[:, 0] > 0)).sum() / (guessed[:, 0].sum() + masks[:, 0].sum()) > 0.8
    assert not guessed[:, 1].any()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A photograph with green spots, and the mask of its spots."""
    folder = tmp_path_factory.mktemp("drawn")
    image, mask = photograph(1, 96) // 4, np.zeros((96, 96), np.uint8)
    for x, y in ((30, 40), (60, 30), (50, 70)):
        image[y : y + 5, x : x + 5], mask[y : y + 5, x : x + 5] = (0, 255, 0), 255
    cv2.imwrite(str(folder / "photograph.png"), image)
    cv2.imwrite(str(folder / "mask.png"), mask)
    return folder / "photograph.png", {"hard_exudates": str(folder / "mask.png")}


def parts_of(field: LesionCrops, path: Path, draw: tuple[int, ...], name: str = "p") -> np.ndarray:
    augmentation = build_augmentation(MOVES)
    assert augmentation is not None

    def vary(image: np.ndarray, masks: list[np.ndarray], outside: int) -> tuple[np.ndarray, list[np.ndarray]]:
        return augmentation(image, masks, seed=draw, outside=outside)

    return field.load(FieldSample(name, str(path), SMALL, variation=vary, draw=draw))


def test_parts_hold_lesions_move_alike_and_follow_their_draw(drawn: tuple[Path, dict[str, str]]) -> None:
    path, masks = drawn
    field = LesionCrops(LARGE, side=24, count=4)
    field.masks.files = {"p": masks, "healthy": {}}
    parts = parts_of(field, path, (0, 1, 2, 0))
    assert parts.shape == (4, 24, 24, 3 + len(MASK_NAMES)) and parts.dtype == np.uint8
    channel = 3 + MASK_NAMES.index("hard_exudates")
    assert parts[0::2, ..., channel].any(axis=(1, 2)).all()  # every second one holds a drawn pixel
    green = (parts[..., 1] > 200) & (parts[..., 0] < 100)
    agree = (green & (parts[..., channel] > 0)).sum() / (green | (parts[..., channel] > 0)).sum()
    assert agree > 0.7  # edges of spots are blurred by the resizing
    assert np.array_equal(parts, parts_of(field, path, (0, 1, 2, 0)))
    assert not np.array_equal(parts, parts_of(field, path, (0, 2, 2, 0)))
    healthy = parts_of(field, path, (0, 1, 2, 0), "healthy")
    assert len(healthy) == 4 and not healthy[..., 3:].any()
    nobody = parts_of(field, path, (0, 1, 2, 0), "nobody")
    batch = field.collate([parts, nobody, healthy])
    assert len(nobody) == 0 and batch.shape == (8, 3 + len(MASK_NAMES), 24, 24)
    white = (1 - np.array(LARGE.mean)) / np.array(LARGE.std)
    assert batch[:, :3].max() <= white.max() + 1e-5 and set(np.unique(batch[:, 3:])) == {0, 1}


@pytest.mark.parametrize("crop", ["fov", "none"])
def test_masks_come_back_to_their_photograph(crop: str) -> None:
    image = np.zeros((120, 200, 3), np.uint8)
    cv2.circle(image, (100, 60), 55, (150, 80, 40), -1)
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.circle(mask, (90, 50), 20, 1, -1)
    settings = Preprocessing.from_dict({**PREPROCESSING, "input_size": 96, "crop": crop})
    copy = Original(image, "made").copy_for(settings)
    plane = prepare_masks(copy, {"m": mask}, settings)["m"].astype(np.float32)
    back = to_photograph(plane, copy, settings) > 0.5
    assert back.shape == mask.shape
    assert 2 * (back & (mask > 0)).sum() / (back.sum() + mask.sum()) > 0.95
    if crop == "fov":  # nothing is drawn outside of what can be seen
        everything = to_photograph(np.ones_like(plane), copy, settings) > 0.5
        assert everything.sum() == pytest.approx((image.max(axis=2) > 0).sum(), rel=0.05)


def test_perfect_masks_say_what_drawn_ones_say() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(image, (100, 100), 80, (150, 80, 40), -1)
    masks = {name: np.zeros((200, 200), bool) for name in MASK_NAMES}
    masks["microaneurysms"][70:73, 70:73] = masks["microaneurysms"][120:123, 60:63] = True
    masks["optic_disc"][90:110, 140:160] = True
    true = measure_findings(image, masks, LESION_NAMES)
    found = findings_from(image, {name: mask * 0.7 for name, mask in masks.items()}, {"microaneurysms": 0.6})
    templates = section("prompt", "default")
    prompts = PromptTemplates(**{key: value for key, value in templates.items() if key != "_target_"})
    assert found == true and found.laterality == "right"
    assert prompts.answer(DR_GRADE, 1, found, "p") == prompts.answer(DR_GRADE, 1, true, "p")
    assert findings_from(image, {name: mask * 0.4 for name, mask in masks.items()}, {}).present == ()
