"""A sheet of reconstructions: photographs, what the student sees of them, and tokens as colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from retinai.data.datamodule import FundusDataModule
from retinai.data.loading.dataset import Collate
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.pretraining.reference import Reference
from retinai.reports.style import new_figure

_HEADERS = ("photograph", "what the student sees", "tokens of the reference", "reconstructed", "squared error")
_GREY = 0.5


@torch.no_grad()
def reconstruction_sheet(module: Any, reference: Reference, datamodule: FundusDataModule, count: int = 5) -> Figure:
    """Draw a row for each of the first validation photographs.

    Tokens are drawn by the first three principal components of the reference's cells, the same for both columns; the
    squared error of a cell is the mean over dimensions, bright where it is large.

    Args:
        module: A trained `TokenReconstruction`.
        reference: Its reference.
        datamodule: The data, set up.
        count: Photographs.
    """
    device = torch.device("cpu")
    reference.to(device)
    module = module.to(device).eval()
    dataset = datamodule.dataset("val")
    samples = [dataset[index] for index in range(min(count, len(dataset)))]
    images: Tensor = Collate(dataset.preprocessing, None)(samples)["image"]
    generator = torch.Generator().manual_seed(module.seed)
    target = reference.tokens(images)
    noisy = module.corruption.noisy(images, clean=0, generator=generator)
    replaced = module.corruption.cells(len(images), target.grid, device, clean=0, generator=generator)
    found = module.network(noisy, replaced)
    error = (found.cells - target.cells).square().mean(dim=2)
    colours = _Colours(target.cells)
    figure, axes = new_figure(2.0 * len(_HEADERS), 2.1 * len(images), len(images), len(_HEADERS))
    hidden_pixels = interpolate(replaced[:, None].float(), size=images.shape[2:], mode="nearest")
    for row in range(len(images)):
        seen = _pixels(noisy[row], dataset.preprocessing)
        hidden = hidden_pixels[row, 0].bool().numpy()
        pictures = [
            _pixels(images[row], dataset.preprocessing),
            np.where(hidden[..., None], _GREY, seen),
            colours(target.cells[row], target.grid),
            colours(found.cells[row], target.grid),
            (error[row] / error.max().clamp_min(1e-12)).reshape(target.grid).numpy(),
        ]
        for column, picture in enumerate(pictures):
            one = axes[row * len(_HEADERS) + column]
            one.set_axis_off()
            one.imshow(picture, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
            if row == 0:
                one.set_title(_HEADERS[column], fontsize=8.5, loc="left")
    return figure


class _Colours:
    """Tokens as colours, by the principal components of some of them.

    Args:
        cells: (B, N, D).
    """

    def __init__(self, cells: Tensor) -> None:
        flat = cells.flatten(0, 1).double()
        self.mean = flat.mean(dim=0)
        self.axes = torch.linalg.svd(flat - self.mean, full_matrices=False).Vh[:3].T
        scores = (flat - self.mean) @ self.axes
        self.low, self.high = scores.quantile(0.02, dim=0), scores.quantile(0.98, dim=0)

    def __call__(self, cells: Tensor, grid: tuple[int, int]) -> NDArray[np.float64]:
        """Return a picture (h, w, 3) from cells (N, D)."""
        scores = (cells.double() - self.mean) @ self.axes
        scaled = ((scores - self.low) / (self.high - self.low).clamp_min(1e-12)).clamp(0, 1)
        return scaled.reshape(*grid, scaled.shape[1]).numpy()


def _pixels(image: Tensor, preprocessing: Preprocessing) -> NDArray[np.float64]:
    """Return a normalised photograph (3, S, S) as pixels from 0 to 1, (S, S, 3)."""
    mean, std = (np.asarray(values) for values in (preprocessing.mean, preprocessing.std))
    return np.clip(image.permute(1, 2, 0).double().numpy() * std + mean, 0, 1)
