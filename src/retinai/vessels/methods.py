"""How vessels are found: one plain object of settings, which workers and loader processes open for themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from retinai.data.photographs.field_of_view import FieldOfView
from retinai.errors import ConfigError

_NETWORKS = ("wnet", "wnet_vessels")
METHODS = (*_NETWORKS, "sato", "folder")


class VesselMethod(Protocol):
    """What finds the vessels of a photograph.

    Attributes:
        key: Short text that changes with whatever decides the class maps.
    """

    key: str

    def segment(self, photograph: np.ndarray, view: FieldOfView, path: str) -> np.ndarray:
        """Return the class map of a photograph.

        Args:
            photograph: uint8 RGB, (H, W, 3).
            view: Its field of view.
            path: Its file.

        Returns:
            uint8, (H, W): 0 none, 1 artery, 2 vein, 3 both or uncertain; 0 outside the field of view.
        """
        ...


@dataclass(frozen=True)
class VesselSettings:
    """How vessels are found.

    Args:
        method: `wnet` (a published network of arteries and veins), `wnet_vessels` (one of vessels alone), `sato` (a
            filter, no weights), or `folder` (masks of other tools).
        weights: Of `wnet` and `wnet_vessels`: the folder of the weights, `paths.weights`.
        masks: Of `folder`: the folder of the masks.
        keys: The keys that give method and masks, to name in messages.

    Raises:
        ConfigError: If the method is unknown, or `masks` does not go with it.
    """

    method: str = "wnet"
    weights: str = "weights"
    masks: str | None = None
    keys: tuple[str, str] = field(default=("vessels", "masks"), compare=False)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError([f"{self.keys[0]}={self.method} is unknown; valid: {', '.join(METHODS)}"])
        if (self.method == "folder") != (self.masks is not None):
            raise ConfigError(
                [f"{self.keys[1]}= names the folder of {self.keys[0]}=folder; give both of them or neither"]
            )

    @property
    def uses_network(self) -> bool:
        """Whether vessels are found by a network, which runs on a device and takes all cores."""
        return self.method in _NETWORKS

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {key: value for key, value in asdict(self).items() if key != "keys"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VesselSettings:
        """Rebuild from `to_dict`."""
        return cls(**values)

    def key(self) -> str:
        """Return a short key of these settings; what lies in files is in `VesselMethod.key`."""
        return hashlib.sha256(repr(sorted(self.to_dict().items())).encode()).hexdigest()[:12]


@lru_cache(maxsize=4)
def open_method(settings: VesselSettings, device: str = "cpu") -> VesselMethod:
    """Return what finds vessels, once per process.

    Args:
        settings: How.
        device: Where networks run, such as `cpu` or `cuda`.

    Raises:
        UserError: If weights or masks are not there, or weights are not those of the networks.
    """
    if settings.uses_network:
        from retinai.vessels.published import ARTERIES_VEINS, VESSELS
        from retinai.vessels.wnet import WNetVessels

        network = ARTERIES_VEINS if settings.method == "wnet" else VESSELS
        return WNetVessels(network, settings.weights, device, settings.keys[0])
    if settings.method == "sato":
        from retinai.vessels.sato import SatoVessels

        return SatoVessels()
    from retinai.vessels.mask_folder import FolderVessels

    assert settings.masks is not None
    return FolderVessels(settings.masks, settings.keys[1])
