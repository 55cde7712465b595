"""What maps are asked for in training: to be sharp or wide, or to lie on vessels or lesions."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from retinai.data.loading.fields import SampleField
from retinai.errors import ConfigError, UserError
from retinai.explain.layers import WatchedMap
from retinai.guidance.maps import MapTerm
from retinai.lesions.findings import LESION_NAMES, OPTIC_DISC
from retinai.lesions.masks import AnnotatedField, MaskField
from retinai.vessels.class_map import ARTERY, BOTH, VEIN
from retinai.vessels.field import VesselField

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule

_LEAST = 1e-6  # keeps logarithms finite, and with a negative weight the term too
_KEYS = ("guidance.method", "guidance.masks")
_KINDS = {"vessels": (ARTERY, VEIN, BOTH), "arteries": (ARTERY, BOTH), "veins": (VEIN, BOTH)}


class EntropyGuidance(MapTerm):
    """The entropy of the maps, from 0 (one cell) to 1 (even): H(map) / log(cells).

    A positive weight makes maps sharper, a negative one wider.
    """

    def __init__(self, name: str = "entropy", weight: float = 0.1) -> None:
        super().__init__(name, weight)

    def values(self, module: Any, seen: WatchedMap, logits: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return `guidance`, the mean entropy, and `maps_used`, the share of photographs with a map."""
        maps, used = self.maps(module, seen, logits, batch)
        return {"guidance": _mean(entropy(maps), logits), "maps_used": used.float().mean()}


class RegionGuidance(MapTerm, ABC):
    """How little of the maps lies in a region: -log of the share of a map that does.

    A positive weight draws maps to the region, a negative one away from it. Photographs without the region, or of
    which nobody knows where it is, take no part.
    """

    def values(self, module: Any, seen: WatchedMap, logits: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return `guidance`; `map_share`, how much of the maps lies in the region; `map_entropy`; `maps_used`."""
        maps, used = self.maps(module, seen, logits, batch)
        regions = self.regions(batch).to(maps)
        cells = functional.adaptive_avg_pool2d(regions[used][:, None], (maps.shape[1], maps.shape[2]))[:, 0]
        there = cells.flatten(1).sum(dim=1) > 0
        share = (maps[there] * cells[there]).sum(dim=(1, 2))
        return {
            "guidance": _mean(-(share + _LEAST).log(), logits),
            "map_share": _mean(share, logits),
            "map_entropy": _mean(entropy(maps), logits),
            "maps_used": there.sum() / len(logits),
        }

    @abstractmethod
    def regions(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the region of each photograph of a batch, bool (B, S, S); empty where it is not known."""


class VesselGuidance(RegionGuidance):
    """Vessels, arteries or veins as the region; they are found as `retinai segment` does.

    Args:
        name: Name of the configuration.
        weight: See `MapTerm`.
        region: `vessels`, `arteries` or `veins`; crossings belong to both kinds.
        method: How they are found: `wnet`, `wnet_vessels`, `sato` or `folder`.
        weights: Folder of published weights.
        masks: With `folder`: the folder of the masks.

    Raises:
        ConfigError: If a value is unknown.
    """

    def __init__(
        self,
        name: str = "vessels",
        weight: float = 0.1,
        region: str = "vessels",
        method: str = "wnet",
        weights: str = "weights",
        masks: str | None = None,
    ) -> None:
        super().__init__(name, weight)
        if region not in _KINDS:
            raise ConfigError([f"guidance.region={region} is unknown; valid: {', '.join(_KINDS)}"])
        if region != "vessels" and method in ("sato", "wnet_vessels"):
            raise ConfigError([f"guidance.method={method} does not tell {region} apart; use wnet or folder"])
        self.region, self.settings = region, (method, str(weights), masks, _KEYS)

    def fields(self) -> list[SampleField]:
        """Return the class maps of the vessels, for training photographs."""
        return [_of_training(VesselField(*self.settings))]

    def regions(self, batch: Mapping[str, Any]) -> Tensor:
        """Return where the vessels are, bool (B, S, S)."""
        kinds = torch.tensor(_KINDS[self.region], device=batch[VesselField.name].device)
        return torch.isin(batch[VesselField.name], kinds.to(batch[VesselField.name].dtype))


class LesionGuidance(RegionGuidance):
    """Drawn lesions as the region; photographs that nobody drew on take no part.

    Args:
        name: Name of the configuration.
        weight: See `MapTerm`.
        kinds: Which lesions; `optic_disc` may be among them.

    Raises:
        ConfigError: If a kind is unknown, or there is none.
    """

    def __init__(self, name: str = "lesions", weight: float = 0.1, kinds: Sequence[str] = LESION_NAMES) -> None:
        super().__init__(name, weight)
        valid = (*LESION_NAMES, OPTIC_DISC)
        unknown = [kind for kind in kinds if kind not in valid]
        if unknown or not kinds:
            said = ", ".join(unknown) or "none"
            raise ConfigError([f"guidance.kinds: {said}; give one or more of {', '.join(valid)}"])
        self.kinds = tuple(kinds)

    def fields(self) -> list[SampleField]:
        """Return the masks, for training photographs."""
        return [_of_training(MaskField()), _of_training(AnnotatedField())]

    def prepare(self, module: Any, datamodule: FundusDataModule) -> list[str]:
        """Count the training photographs with masks.

        Raises:
            UserError: If there is none.
        """
        told = super().prepare(module, datamodule)
        drawn, ids = datamodule.source.annotations(), datamodule.split_table("train")["id"]
        count = sum(name in drawn for name in ids)
        if not count:
            raise UserError(
                f"guidance=lesions needs lesion masks, and none of the {len(ids)} training photographs of "
                f"{datamodule.name} has one; use data=idrid with its part A, or guidance=vessels"
            )
        return [*told, f"guidance by lesions: {count} of {len(ids)} training photographs have masks"]

    def regions(self, batch: Mapping[str, Any]) -> Tensor:
        """Return where any of the lesions is drawn, bool (B, S, S)."""
        channels = [MaskField().names.index(kind) for kind in self.kinds]
        drawn = (batch[MaskField.name][:, channels] > 0.5).any(dim=1)
        return drawn & batch[AnnotatedField.name][:, None, None]


def entropy(maps: Tensor) -> Tensor:
    """Return the entropy of maps with the sum 1, (N, h, w), over its largest value log(h w), shape (N,)."""
    cells = maps.flatten(1)
    # x log(x + e) and not torch's entr, whose gradient at 0 is infinite.
    return -(cells * (cells + _LEAST).log()).sum(dim=1) / math.log(cells.shape[1])


def _mean(values: Tensor, logits: Tensor) -> Tensor:
    """Return the mean, and 0 of no values; part of the graph in any case."""
    return values.mean() if len(values) else logits.sum() * 0


def _of_training(field: SampleField) -> SampleField:
    own = copy.copy(field)
    own.splits = ("train",)
    return own
