"""How a photograph becomes a network's input. The settings travel in every checkpoint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

# Raised whenever the pixels that the same settings give change, so that no cache serves old ones.
PIXEL_VERSION = 2
# What Graham's method puts outside the field of view.
GREY = 128


@dataclass(frozen=True)
class Preprocessing:
    """Everything between a file's pixels and the tensor that a network sees.

    The backbone owns size, interpolation, mean and std; the data configuration owns the crop and
    the contrast options.

    Args:
        input_size: Side of the square input in pixels.
        mean: Mean per RGB channel, on a scale of 0 to 1.
        std: Standard deviation per RGB channel, on a scale of 0 to 1.
        interpolation: `bilinear`, `bicubic` or `area`.
        crop: `fov` crops to the field of view; `none` keeps the frame.
        ben_graham: Subtract the local average colour (Graham's winning entry of the 2015 Kaggle contest).
        clahe: Contrast-limited adaptive histogram equalisation of the lightness.
        decoding: `reduced` decodes JPEGs at the smallest scale that leaves enough pixels (`original.choose_reduction`);
            `whole` decodes every pixel.
    """

    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "area"
    crop: str = "fov"
    ben_graham: bool = False
    clahe: bool = False
    decoding: str = "reduced"

    @property
    def outside(self) -> int:
        """Value of all channels outside the field of view in prepared pixels, 0 to 255."""
        return GREY if self.ben_graham else 0

    def pixel_key(self) -> str:
        """Return a short key of all that decides the prepared pixels (mean and std do not)."""
        return _pixel_key(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for checkpoints and JSON."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """Rebuild from `to_dict`; what was written without `decoding` saw photographs that were decoded whole."""
        known = {"decoding": "whole", **values}
        return cls(**{**known, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


@lru_cache(maxsize=64)  # asked for with every sample
def _pixel_key(preprocessing: Preprocessing) -> str:
    values = {k: v for k, v in asdict(preprocessing).items() if k not in ("mean", "std")}
    return hashlib.sha256(json.dumps([PIXEL_VERSION, values], sort_keys=True).encode()).hexdigest()[:12]
