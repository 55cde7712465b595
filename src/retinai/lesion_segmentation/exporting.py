"""The second network of an exported folder: what a lesion grader draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from retinai.data.photographs.original import Original
from retinai.encoders.lora import merged
from retinai.errors import UserError
from retinai.export.graph import NormalisedPixels
from retinai.export.onnx import write_network
from retinai.lesion_segmentation.reading import read_masks
from retinai.lesions.pixel_metrics import MASK_NAMES
from retinai.log import logger
from retinai.runtime.folder import MASKS, PHOTOGRAPH, MaskFacts
from retinai.runtime.masks import ExportedMasks

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule
    from retinai.lesion_segmentation.module import LesionGrader

_NETWORK = "masks.onnx"
# Photographs that checkpoint and folder both draw on, and the largest difference of a probability.
_COMPARED = 3
_LARGEST = 0.001


class PixelsToMasks(nn.Module):
    """Normalisation, encoder, decoder and sigmoid in one graph.

    Args:
        module: A trained lesion grader, in evaluation mode.
    """

    def __init__(self, module: LesionGrader) -> None:
        super().__init__()
        module = merged(module)
        module.network.use_memory_format(torch.contiguous_format)
        self.module = module
        self.normalise = NormalisedPixels(module.mask_preprocessing)

    def forward(self, photograph: Tensor) -> Tensor:
        """Return probabilities of the masks, float32, (B, L, S, S), of prepared pixels, uint8, (B, S, S, 3)."""
        return torch.sigmoid(self.module.mask_logits(self.normalise(photograph)))


def write_masks(
    module: LesionGrader, folder: Path, datamodule: FundusDataModule, split: str, engine: str
) -> dict[str, Any]:
    """Write the network of the masks into a folder, and compare it with the checkpoint on a few photographs.

    Args:
        module: The checkpoint's module.
        folder: The folder that is being written.
        datamodule: The data, set up.
        split: Whose first photographs are compared.
        engine: `onnx` or `openvino`.

    Returns:
        `masks` of `model.json`.

    Raises:
        UserError: If the network has no form in ONNX, or draws otherwise than the checkpoint.
    """
    side = module.mask_preprocessing.input_size
    pixels = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_network(PixelsToMasks(module).eval(), {PHOTOGRAPH: pixels}, [MASKS], folder / _NETWORK)
    facts = MaskFacts(_NETWORK, MASK_NAMES, dict(module.thresholds), module.mask_preprocessing)
    exported = ExportedMasks(folder, facts, engine)
    paths = datamodule.split_table(split)["path"].tolist()[:_COMPARED]
    largest = max(_difference(module, exported, path) for path in paths)
    logger.info(
        f"masks: compared on {len(paths)} photographs, {largest:.2g} is the largest difference of a probability"
    )
    if largest > _LARGEST:
        raise UserError(
            f"the exported network draws otherwise than the checkpoint: a probability differs by {largest:.4f} (limit "
            f"{_LARGEST:g}); nothing was kept"
        )
    return {
        "masks": {
            "network": _NETWORK,
            "names": list(MASK_NAMES),
            "thresholds": dict(module.thresholds),
            "input_size": side,
            "largest_difference": largest,
        }
    }


def _difference(module: LesionGrader, exported: ExportedMasks, path: str) -> float:
    original = Original.read(path)
    ours, theirs = read_masks(module, original), exported.read(original)
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)
