"""What the student does not see: noise on the pixels, and cells that are replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Corruption:
    """How photographs are made worse.

    Args:
        noise: Standard deviation of Gaussian noise, as a share of each channel's own in each photograph.
        replaced: Largest share of replaced cells; each photograph draws its own share from 0 to this one.
    """

    noise: float = 0.2
    replaced: float = 1 / 3

    def noisy(self, images: Tensor, clean: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Return photographs with noise.

        Args:
            images: Normalised photographs, (B, 3, S, S).
            clean: So many at the end of the batch stay as they are.
            generator: On the CPU; None draws from the global generator of the photographs' device.
        """
        scale = self.noise * images.float().std(dim=(2, 3), keepdim=True)
        scale[len(images) - clean :] = 0
        return images + (scale * _draw(torch.randn, images.shape, images.device, generator)).to(images.dtype)

    def cells(
        self,
        count: int,
        grid: tuple[int, int],
        device: torch.device,
        clean: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return which cells are replaced, bool (B, h, w); arguments as for `noisy`."""
        share = self.replaced * _draw(torch.rand, (count, 1, 1), device, generator)
        share[count - clean :] = 0
        return _draw(torch.rand, (count, *grid), device, generator) < share


def _draw(
    function: Callable[..., Tensor], shape: Sequence[int], device: torch.device, generator: torch.Generator | None
) -> Tensor:
    if generator is None:
        return function(shape, device=device)
    return function(shape, generator=generator).to(device)
