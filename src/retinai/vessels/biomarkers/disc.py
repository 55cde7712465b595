"""The optic disc of a photograph, by published networks of AutoMorph."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_fill_holes

from retinai.data.photographs.field_of_view import FieldOfView
from retinai.errors import UserError
from retinai.vessels.biomarkers.calibres import Disc
from retinai.vessels.network import WNet
from retinai.vessels.published import PublishedNetwork, load_network

FOLDER = "automorph_disc_cup"
HOME, LICENCE = "github.com/rmaphoh/AutoMorph (folder M2_lwnet_disc_cup)", "Apache-2.0"
SEEDS = (28, 30, 32, 34)  # of the owners' eight networks; the others change little and cost as much again
SIDE = 512
_SHARE = 0.3  # of the largest probability, from which a pixel is disc
_BLUR = 15.0  # pixels of the square, before the peak is looked for: a disc is large, a bright speck is not
_LEAST_PEAK = 0.3  # a smaller probability everywhere is no disc
_DIAMETERS = (0.05, 0.3)  # of the field of view's width; anything else is no disc


def find_disc_weights(folder: str | Path) -> list[Path]:
    """Return the files of the disc's networks.

    Args:
        folder: `paths.weights`.

    Raises:
        UserError: If one is not there; says what is looked for, where it is had, and its licence.
    """
    files = [Path(folder).expanduser() / FOLDER / f"{seed}.safetensors" for seed in SEEDS]
    absent = [file for file in files if not file.is_file()]
    if absent:
        names = ", ".join(file.name for file in absent)
        raise UserError(
            f"the weights that find the optic disc are not in paths.weights={folder}: {FOLDER}/ lacks {names}, the "
            f"tensors of {HOME} (licence {LICENCE}) by training seed as safetensors; or do without calibres: disc=none"
        )
    return files


class DiscFinder:
    """Finds the optic disc.

    Args:
        weights: Folder of the weights, `paths.weights`.
        device: Where the networks run.

    Raises:
        UserError: If weights are not there, or not those of the networks.

    Source: Zhou et al., "AutoMorph: Automated Retinal Vascular Morphology Quantification Via a Deep Learning
        Pipeline", TVST 2022; Galdran et al., "The Little W-Net That Could", 2020.
    """

    def __init__(self, weights: str | Path, device: str = "cpu") -> None:
        files = find_disc_weights(weights)
        kinds = [PublishedNetwork(f"disc network {seed}", 3, (8, 16, 32), 68_678, HOME) for seed in SEEDS]
        pairs = zip(kinds, files, strict=True)
        self.networks: list[WNet] = [load_network(kind, file).to(device) for kind, file in pairs]
        self.device = device

    def mask(self, photograph: NDArray[np.uint8], view: FieldOfView) -> NDArray[np.bool_] | None:
        """Return the disc with its cup, bool (H, W); None where there is none.

        Args:
            photograph: uint8 RGB, (H, W, 3).
            view: Its field of view.
        """
        left, top, width, height = view.box
        side = max(width, height)
        square = np.zeros((side, side, 3), np.uint8)
        x, y = (side - width) // 2, (side - height) // 2
        square[y : y + height, x : x + width] = photograph[top : top + height, left : left + width]
        region = self._region(square)
        if region is None:
            return None
        large = cv2.resize(region.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST_EXACT) > 0
        found = np.zeros(photograph.shape[:2], bool)
        found[top : top + height, left : left + width] = large[y : y + height, x : x + width]
        diameter = 2 * np.sqrt(found.sum() / np.pi) / width
        return found if _DIAMETERS[0] <= diameter <= _DIAMETERS[1] else None

    def find(self, photograph: NDArray[np.uint8], view: FieldOfView) -> Disc | None:
        """Return place and size of the disc; None where there is none."""
        found = self.mask(photograph, view)
        if found is None:
            return None
        rows, columns = np.nonzero(found)
        return Disc(float(columns.mean()), float(rows.mean()), float(2 * np.sqrt(len(rows) / np.pi)))

    @torch.inference_mode()
    def _region(self, square: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
        small = Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float().to(self.device) / 255
        chances = [torch.softmax(network(pixels), dim=1)[0, 1:].sum(dim=0) for network in self.networks]
        disc = torch.stack(chances).mean(dim=0).cpu().numpy()
        peak = float(disc.max())
        if peak < _LEAST_PEAK:
            return None
        smooth = cv2.GaussianBlur(disc, (0, 0), _BLUR)
        _, labels = cv2.connectedComponents((disc > _SHARE * min(1.0, peak)).astype(np.uint8), connectivity=8)
        number = int(labels[np.unravel_index(int(smooth.argmax()), smooth.shape)])
        if number == 0:
            return None
        return np.asarray(binary_fill_holes(labels == number), bool)


@lru_cache(maxsize=1)
def open_disc_finder(weights: str, device: str = "cpu") -> DiscFinder:
    """Return what finds discs, once per process."""
    return DiscFinder(weights, device)
