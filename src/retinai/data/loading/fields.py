"""What a sample may carry besides photograph and label: findings, masks, topology, text.

A data set does not know which module will read it; a run adds the fields that its module asks for.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class SampleField(Protocol):
    """One more key of a sample and of a batch.

    Attributes:
        name: The batch key.
        moves: Whether values are planes, uint8 (S, S, L), which the augmentation moves along with the photograph.
    """

    name: str
    moves: bool

    def load(self, id: str, path: str, photograph: np.ndarray) -> Any:
        """Return the value of one sample.

        Args:
            id: Name of the sample in the label table.
            path: The original file.
            photograph: The prepared photograph before augmentation, uint8 RGB (S, S, 3).
        """
        ...

    def collate(self, values: list[Any]) -> Any:
        """Return the batch's value of B samples' values: a stacked tensor, or the list itself."""
        ...
