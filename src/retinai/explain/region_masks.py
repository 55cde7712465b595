"""Regions that a map is compared with, and where their masks come from; a new family is one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.data.loading.fields import SampleField, by_name
from retinai.errors import UserError
from retinai.lesions.findings import LESION_NAMES, OPTIC_DISC
from retinai.lesions.masks import AnnotatedField, MaskField
from retinai.vessels.class_map import regions
from retinai.vessels.field import VesselField
from retinai.vessels.methods import VesselSettings

Masks = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Family:
    """Regions that belong together: the rest that one is compared with holds none of the others.

    Args:
        regions: Their names.
        fields: What samples have to carry.
        masks: From what one sample carries, by field name, to a mask of each region, (S, S); empty where nobody looked.
        needs_annotations: Whether only a data set has them.
    """

    regions: tuple[str, ...]
    fields: Callable[[], list[SampleField]]
    masks: Callable[[Mapping[str, Any]], Masks]
    needs_annotations: bool


def _drawn(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Masks]:
    channels = {name: number for number, name in enumerate(MaskField().names)}

    def masks(carried: Mapping[str, Any]) -> Masks:
        if not carried[AnnotatedField.name]:
            return {}
        return {name: np.asarray(carried[MaskField.name][channels[name]]) > 0.5 for name in names}

    return masks


def _mask_fields() -> list[SampleField]:
    return [MaskField(), AnnotatedField()]


def _vessels(settings: VesselSettings) -> Family:
    def fields() -> list[SampleField]:
        return [VesselField(**settings.to_dict(), keys=settings.keys)]

    def masks(carried: Mapping[str, Any]) -> Masks:
        return regions(np.asarray(carried[VesselField.name]))

    return Family(("vessels", "arteries", "veins"), fields, masks, False)


FAMILIES: dict[str, Callable[[VesselSettings], Family]] = {
    "vessels": _vessels,
    "lesions": lambda settings: Family(tuple(LESION_NAMES), _mask_fields, _drawn(LESION_NAMES), True),
    "disc": lambda settings: Family((OPTIC_DISC,), _mask_fields, _drawn((OPTIC_DISC,)), True),
}


def chosen_families(names: Sequence[str], of_data_set: bool, vessels: VesselSettings) -> dict[str, Family]:
    """Return the families of `regions=`.

    Args:
        names: Of `FAMILIES`.
        of_data_set: Whether the photographs are those of a data set; loose files have no annotations.
        vessels: How vessels are found.

    Raises:
        UserError: If one is unknown, or needs masks that loose files do not have.
    """
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise UserError(f"regions={','.join(unknown)} is unknown; valid: {', '.join(FAMILIES)}")
    families = {name: FAMILIES[name](vessels) for name in names}
    drawn = [name for name, family in families.items() if family.needs_annotations]
    if drawn and not of_data_set:
        raise UserError(f"regions={','.join(drawn)} needs masks, which files of images= do not have; use data=")
    return families


def region_fields(families: Mapping[str, Family]) -> list[SampleField]:
    """Return what samples have to carry for some families, each once."""
    return list(by_name([field for family in families.values() for field in family.fields()]).values())
