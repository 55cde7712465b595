"""Vessels, arteries and veins by the published W-Nets, prepared and put together as their owners do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from retinai.data.photographs.field_of_view import FieldOfView
from retinai.encoders.tuning import hash_tensors
from retinai.vessels.class_map import ARTERY, BOTH, NONE, VEIN, inside_mask
from retinai.vessels.network import WNet
from retinai.vessels.published import ARTERIES_VEINS, VESSELS, find_weights, load_network
from retinai.vessels.resampling import CubicResize

SIDE = 512  # of the square that the networks see
THRESHOLD = 0.42  # a pixel with a higher probability is vessel
_ODDS = 2  # how much likelier one kind has to be than the other where only the network of vessels finds one
_VERSION = 1  # raised whenever the same weights give other class maps
_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-1, -2))
_BAND = 256  # rows of the class map that are made at a time


class WNetVessels:
    """Class maps by `wnet_drive` (vessels) and `big_wnet_drive_av` (arteries and veins).

    Arteries and veins are where the second network says so; what only the first one finds, mostly thin vessels, gets a
    kind too where the second one leans clearly to it, see `classify`.

    Args:
        weights: Folder of the weights, `paths.weights`.
        device: Where the networks run, such as `cpu` or `cuda`.

    Raises:
        UserError: If weights are not there, or not those of these networks.
    """

    def __init__(self, weights: str | Path, device: str = "cpu") -> None:
        found = [(network, find_weights(network, weights)) for network in (VESSELS, ARTERIES_VEINS)]
        self.device = device
        self.vessels, self.arteries_veins = (load_network(network, file).to(device) for network, file in found)
        states = {
            f"{n}.{key}": t for n in (0, 1) for key, t in (self.vessels, self.arteries_veins)[n].state_dict().items()
        }
        self.key = f"wnet-{_VERSION}-{hash_tensors(states, states)[:12]}"

    def segment(self, photograph: np.ndarray, view: FieldOfView, path: str = "") -> np.ndarray:
        """Return the class map of a photograph, see `VesselMethod.segment`."""
        left, top, width, height = view.box
        crop = photograph[top : top + height, left : left + width]
        square = network_input(crop).to(self.device)
        vessel = flip_mean(self.vessels, square)
        background, uncertain, artery, vein = flip_mean(self.arteries_veins, square)
        resized = CubicResize([vessel[0], background, uncertain, artery, vein], height, width)
        classes = np.zeros(photograph.shape[:2], np.uint8)
        for start in range(0, height, _BAND):
            end = min(start + _BAND, height)
            classes[top + start : top + end, left : left + width] = classify(*resized.rows(start, end))
        return np.where(inside_mask(view, *photograph.shape[:2]), classes, np.uint8(NONE))


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


def classify(
    vessel: np.ndarray, background: np.ndarray, uncertain: np.ndarray, artery: np.ndarray, vein: np.ndarray
) -> np.ndarray:
    """Return classes of probabilities.

    Half of `uncertain` goes to the artery and half to the vein; then the largest counts, as published. Where that is
    the background, but the network of vessels finds one, it is of the kind that is at least twice as likely as the
    other, and of an uncertain kind if neither is.

    Args:
        vessel: Probability by the network of vessels, float32, any shape.
        background: By the network of arteries and veins, as the following.
        uncertain: That it is a vessel of a kind that nobody could tell.
        artery: That it is an artery.
        vein: That it is a vein.

    Returns:
        uint8, the same shape.
    """
    artery, vein = artery + 0.5 * uncertain, vein + 0.5 * uncertain
    classes = np.where(artery >= vein, np.uint8(ARTERY), np.uint8(VEIN))
    faint = np.maximum(artery, vein) <= background
    doubtful = np.maximum(artery, vein) < _ODDS * np.minimum(artery, vein)
    classes[faint & doubtful] = BOTH
    classes[faint & (vessel <= THRESHOLD)] = NONE
    return classes
