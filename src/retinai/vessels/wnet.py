"""Vessels, arteries and veins by the published W-Nets, prepared as their owners do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from retinai.data.photographs.field_of_view import FieldOfView
from retinai.encoders.tuning import hash_tensors
from retinai.vessels.class_map import ARTERY, BOTH, NONE, VEIN, inside_mask
from retinai.vessels.network import WNet
from retinai.vessels.published import PublishedNetwork, find_weights, load_network
from retinai.vessels.resampling import CubicResize

SIDE = 512  # of the square that the networks see
THRESHOLD = 0.42  # a pixel with a higher probability is vessel
_VERSION = 2  # raised whenever the same weights give other class maps
_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-1, -2))
_BAND = 256  # rows of the class map that are made at a time


class WNetVessels:
    """Class maps by one of the published networks.

    Args:
        network: Which one; `classify_kinds` or `classify_vessels` reads its probabilities.
        weights: Folder of the weights, `paths.weights`.
        device: Where the network runs, such as `cpu` or `cuda`.
        chosen_by: The key that chooses how vessels are found, to name in messages.

    Raises:
        UserError: If weights are not there, or not those of this network.
    """

    def __init__(
        self, network: PublishedNetwork, weights: str | Path, device: str = "cpu", chosen_by: str = "vessels"
    ) -> None:
        self.device = device
        self.classify = classify_vessels if network.classes == 1 else classify_kinds
        self.net = load_network(network, find_weights(network, weights, chosen_by)).to(device)
        state = self.net.state_dict()
        self.key = f"{network.name}-{_VERSION}-{hash_tensors(state, state)[:12]}"

    def segment(self, photograph: np.ndarray, view: FieldOfView, path: str = "") -> np.ndarray:
        """Return the class map of a photograph, see `VesselMethod.segment`."""
        left, top, width, height = view.box
        square = network_input(photograph[top : top + height, left : left + width]).to(self.device)
        resized = CubicResize(list(flip_mean(self.net, square)), height, width)
        classes = np.zeros(photograph.shape[:2], np.uint8)
        for start in range(0, height, _BAND):
            end = min(start + _BAND, height)
            classes[top + start : top + end, left : left + width] = self.classify(resized.rows(start, end))
        return np.where(inside_mask(view, *photograph.shape[:2]), classes, np.uint8(NONE))


def classify_kinds(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Return classes of the probabilities of `big_wnet_drive_av`, uint8.

    Half of "uncertain" goes to the artery and half to the vein; then the largest counts, as published. A vessel that
    the network itself calls uncertain rather than artery or vein is of class 3.

    Args:
        probabilities: Background, a vessel of a kind that nobody could tell, artery, vein; float32, any shape.
    """
    background, uncertain, artery, vein = probabilities
    halves = artery + 0.5 * uncertain, vein + 0.5 * uncertain
    classes = np.where(halves[0] >= halves[1], np.uint8(ARTERY), np.uint8(VEIN))
    classes[uncertain > np.maximum(artery, vein)] = BOTH
    classes[np.maximum(*halves) <= background] = NONE
    return classes


def classify_vessels(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Return classes of the probability of a vessel by `wnet_drive`, uint8: of every vessel the kind is uncertain."""
    (vessel,) = probabilities
    return np.where(vessel > THRESHOLD, np.uint8(BOTH), np.uint8(NONE))


def network_input(crop: np.ndarray) -> Tensor:
    """Return the field of view as the networks see it: RGB of 0 to 1, not normalised, float32, (1, 3, 512, 512).

    The sides are not kept in proportion, and Pillow's bilinear resizing averages over what it skips: both as published.

    Args:
        crop: uint8 RGB, (H, W, 3).
    """
    square = Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float() / 255


@torch.inference_mode()
def flip_mean(network: WNet, square: Tensor) -> np.ndarray:
    """Return probabilities, averaged over the photograph and its three flips.

    Args:
        network: One class (sigmoid) or several (softmax).
        square: float32, (1, 3, H, W).

    Returns:
        float32, (classes, H, W).
    """
    logits = network(torch.cat([square.flip(flip) for flip in _FLIPS]))
    chances = torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)
    back = [one.flip(flip) for one, flip in zip(chances, _FLIPS, strict=True)]
    return torch.stack(back).mean(dim=0).cpu().numpy()
