"""Masks of an exported folder: a second network that draws lesions and the optic disc, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retinai.data.photographs.original import Original
from retinai.data.photographs.prepared_pixels import prepare_photograph, to_photograph
from retinai.errors import UserError
from retinai.runtime.engines import open_engine
from retinai.runtime.folder import MASKS, PHOTOGRAPH, MaskFacts


class ExportedMasks:
    """Draws the masks of photographs.

    Args:
        folder: The exported folder.
        facts: What it says of its masks.
        engine: `onnx` or `openvino`.
        threads: Threads of the network; None: as many as this process may use.

    Raises:
        UserError: If the network is another one than the folder says.
        MissingExtraError: If the engine is not installed.
    """

    def __init__(self, folder: Path, facts: MaskFacts, engine: str, threads: int | None = None) -> None:
        self.facts = facts
        file = folder / facts.network
        self._engine = open_engine(engine, file, "fp32", threads)
        if (self._engine.inputs(), self._engine.outputs()) != (facts.inputs, facts.outputs):
            raise UserError(f"{file} is not the network of masks that {folder} speaks of; export the checkpoint anew")

    def planes(self, square: np.ndarray) -> dict[str, np.ndarray]:
        """Return the probability of each pixel of a prepared photograph, {name: float32 (S, S)}.

        Args:
            square: Prepared with `facts.preprocessing`, uint8 (S, S, 3), RGB.

        Raises:
            UserError: If the network gives no probabilities.
        """
        found = self._engine.run({PHOTOGRAPH: np.ascontiguousarray(square[None])})[MASKS][0]
        if not ((found >= 0) & (found <= 1)).all():
            raise UserError(f"{self.facts.network} gives masks that are no probabilities; export the checkpoint anew")
        return dict(zip(self.facts.names, found, strict=True))

    def read(self, photograph: Original | str | Path | np.ndarray) -> dict[str, np.ndarray]:
        """Return the probability of each pixel of a photograph, in its own frame.

        Args:
            photograph: A file, or pixels (uint8, (H, W, 3), RGB).

        Returns:
            {name: float32 in [0, 1], (H, W)}; 0 outside of the field of view.

        Raises:
            BadImageError: If it cannot be read.
        """
        preprocessing = self.facts.preprocessing
        copy = _original(photograph).copy_for(preprocessing)
        square = prepare_photograph(copy.pixels, preprocessing, copy.found_for(preprocessing))
        return {
            name: to_photograph(plane, copy, preprocessing).clip(0, 1) for name, plane in self.planes(square).items()
        }


def _original(photograph: Original | str | Path | np.ndarray) -> Original:
    if isinstance(photograph, Original):
        return photograph
    return Original(photograph, "photograph") if isinstance(photograph, np.ndarray) else Original.read(photograph)
