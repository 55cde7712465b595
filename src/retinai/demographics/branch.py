"""The branch of age and sex: four numbers to features beside those of the photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retinai.demographics.field import FEMALE, MALE, DemographicsField
from retinai.errors import ConfigError
from retinai.modules.branches import Branch


class DemographicsBranch(Branch):
    """Age and sex beside the photograph: z = [f; GELU(W d + b)], where d are the values of `DemographicsField`.

    In training d is hidden (all 0, which means unknown) for a share of the photographs, so that an answer about
    a patient of unknown age and sex is one that the network has learned to give.

    Args:
        num_features: Width F of the features that it is fused with.
        name: Name of the configuration.
        age: Column with the age in years.
        sex: Column with the sex.
        female: Words of that column for women.
        male: Words of that column for men.
        width: Features that the branch gives.
        hidden: Share of the training photographs of which age and sex are hidden, 0 to 1.

    Raises:
        ConfigError: If a word means both, or a value makes no sense.
    """

    training_only = ("hidden",)

    def __init__(
        self,
        num_features: int,
        name: str = "age_sex",
        age: str = "age",
        sex: str = "sex",
        female: Sequence[str] = FEMALE,
        male: Sequence[str] = MALE,
        width: int = 16,
        hidden: float = 0.2,
    ) -> None:
        super().__init__()
        both = {str(word).casefold() for word in female} & {str(word).casefold() for word in male}
        if both:
            words = ", ".join(sorted(both))
            raise ConfigError([f"demographics.female and demographics.male both hold {words}; leave it in one of them"])
        if not 0 <= hidden <= 1:
            raise ConfigError([f"demographics.hidden={hidden} is out of range (0 to 1)"])
        self._field = DemographicsField(age, sex, [str(w) for w in female], [str(w) for w in male])
        self.hidden = float(hidden)
        self.layer = nn.Linear(4, width)
        self.num_features = num_features + width

    @classmethod
    def make_field(cls, section: Mapping[str, Any]) -> DemographicsField:
        """Return age and sex as the section names their columns."""
        given = cls.read_section(section)
        return DemographicsField(**{key: given[key] for key in ("age", "sex", "female", "male") if key in given})

    @property
    def field(self) -> DemographicsField:
        """The age and sex that it reads."""
        return self._field

    def forward(self, features: Tensor, values: Tensor) -> Tensor:
        """Return fused features, (B, F + width), from features (B, F) and age and sex (B, 4)."""
        if self.training and self.hidden:
            values = values * (torch.rand(len(values), 1, device=values.device) >= self.hidden)
        return torch.cat([features, nn.functional.gelu(self.layer(values.to(features.dtype)))], dim=1)
