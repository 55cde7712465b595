"""The reference: the encoder as it was at the start, whose tokens the student learns to say from less."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from retinai.data.datamodule import FundusDataModule
from retinai.data.loading.loader import make_loader
from retinai.encoders.encoder import Encoder
from retinai.encoders.tuning import hash_tensors
from retinai.pretraining.tokens import Tokens, tokens_of

# Most bytes of tokens that are kept in memory instead of computed again, for training and validation each.
MOST_BYTES = 2**31


class Reference:
    """A frozen copy of an encoder. It is no module, so that it is no part of what trains and of what is saved.

    Args:
        encoder: With the start weights; it is copied.

    Attributes:
        sha256: Hash of its weights.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        state = self.encoder.net.state_dict()
        self.sha256 = hash_tensors(state, state)
        self._kept: dict[str, Tensor] = {}
        self._grid: tuple[int, int] = (0, 0)

    def to(self, device: torch.device) -> None:
        """Move it to a device."""
        self.encoder.to(device)

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tokens:
        """Return its tokens of photographs, (B, 3, S, S), which are not corrupted."""
        return tokens_of(self.encoder, images)

    def kept_or_new(self, images: Tensor, names: list[str]) -> Tokens:
        """Return its tokens of training photographs: those of `keep_training` where they are there."""
        if not self._kept:
            return self.tokens(images)
        values = torch.stack([self._kept[name] for name in names])
        return Tokens(values.to(images.device, non_blocking=True), self._grid)

    def keep_training(self, datamodule: FundusDataModule, device: torch.device) -> int:
        """Compute the tokens of all training photographs once, if nothing augments them and there is room.

        They are computed in the order of the table, so that a resumed run has the very same numbers.

        Args:
            datamodule: The data, set up.
            device: Where the reference is.

        Returns:
            Photographs whose tokens are kept; 0 where they are computed at each step.
        """
        dataset = datamodule.dataset("train")
        if dataset.augmentation is not None:
            return 0
        kept: dict[str, Tensor] = {}
        loader = make_loader(
            dataset, datamodule.task, batch_size=datamodule.batch_size, num_workers=datamodule.loading.num_workers
        )
        for batch in loader:
            found = self.tokens(batch["image"].to(device))
            if not fits(found.values, len(dataset)):
                return 0
            kept |= dict(zip(batch["id"], found.values.cpu(), strict=True))
            self._grid = found.grid
        self._kept = kept
        return len(kept)


def fits(values: Tensor, photographs: int) -> bool:
    """Return whether the tokens of so many photographs have room in memory, from those of a batch (B, N, D)."""
    return values[0].numel() * values.element_size() * photographs <= MOST_BYTES
