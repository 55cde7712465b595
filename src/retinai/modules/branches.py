"""A second input of a classifier, with its own network and its fusion with the features of the photograph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from retinai.config.build import TARGET, build, check_kind
from retinai.data.loading.fields import SampleField
from retinai.errors import CheckpointError


class Branch(nn.Module, ABC):
    """A second input of a classifier: what it reads of a sample, its network, and its fusion.

    The `branches` of a `model` section name sections; each of them says by `_target_` which branch it is of. A
    subclass takes the section's keys, among them `name`, and `num_features`.

    Attributes:
        num_features: Width G of the features after the fusion.
        training_only: Keys of the section that do not matter to weights that are there already.
    """

    given: ClassVar[tuple[str, ...]] = ("num_features",)
    training_only: ClassVar[tuple[str, ...]] = ("dropout",)
    num_features: int

    @classmethod
    def read_section(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys of a section as plain values; a subclass fills in defaults and checks them.

        Raises:
            ConfigError: If a key is unknown or a value makes no sense.
        """
        return {key: value for key, value in section.items() if key != TARGET}

    @classmethod
    @abstractmethod
    def make_field(cls, section: Mapping[str, Any]) -> SampleField:
        """Return what a branch of this section reads of a sample, without building the branch."""

    @property
    @abstractmethod
    def field(self) -> SampleField:
        """What this branch reads of a sample."""

    @abstractmethod
    def forward(self, features: Tensor, values: Any) -> Tensor:
        """Return fused features, (B, G), from features (B, F) and a batch of the field's values."""


def chosen(sections: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return the sections that name a branch, by name; one that is missing or named `none` is no branch.

    Args:
        sections: The `branches` of a `model` section.
    """
    return {
        str(name): dict(section)
        for name, section in (sections or {}).items()
        if section is not None and not (isinstance(section, Mapping) and section.get("name") == "none")
    }


def build_branches(sections: Mapping[str, Any] | None, num_features: int) -> nn.ModuleDict:
    """Return the branches of a `model` section in order, each fused with what the ones before it gave.

    Args:
        sections: Section by name.
        num_features: Width F of the pooled features of the photograph.

    Raises:
        ConfigError: If a section is of no branch, a key is unknown or a value makes no sense.
    """
    branches = nn.ModuleDict()
    for name, section in chosen(sections).items():
        branch = build(section, Branch, num_features=num_features)
        branches[name] = branch
        num_features = branch.num_features
    return branches


def branch_fields(sections: Mapping[str, Any] | None) -> list[SampleField]:
    """Return what the branches of these sections read, without building a network."""
    return [check_kind(s, Branch, trusted=True).make_field(s) for s in chosen(sections).values()]


def check_same_branches(ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None, name: str) -> None:
    """Refuse a checkpoint with a branch for a module without, the reverse, and one with other settings.

    Args:
        ours: The `branches` of the module that is to take the weights.
        theirs: Those of the checkpoint.
        name: The file, for the error.

    Raises:
        CheckpointError: Says what the checkpoint has and what is asked for.
    """
    own, other = chosen(ours), chosen(theirs)
    for key in {**own, **other}:
        if key not in own:
            raise CheckpointError(
                f"{name} was trained with {key} and this run has none; set {key}={other[key].get('name')} as it was "
                "trained"
            )
        if key not in other:
            raise CheckpointError(f"{name} was trained without {key} and has no branch for it; set {key}=none")
        differing = " ".join(f"{key}.{k}={value}" for k, value in _differing(own[key], other[key]))
        if differing:
            raise CheckpointError(f"{name} was trained with another {key}; set {differing}")


def _differing(own: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    mine, kind = (check_kind(section, Branch) for section in (own, other))
    if mine is not kind:
        yield TARGET, other[TARGET]
        return
    ours = kind.read_section(own)
    for key, value in kind.read_section(other).items():
        if key not in kind.training_only and ours.get(key) != value:
            yield key, value
