"""Which persistence images are made of a photograph, and how a network reads them: plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from retinai.config.build import TARGET, check_own_kind
from retinai.errors import ConfigError

# Raised whenever the images that the same settings give change, so that no cache serves old ones.
TOPOLOGY_VERSION = 1
CHANNELS = ("sublevel_h0", "sublevel_h1", "superlevel_h0", "superlevel_h1")
LAST_LEVEL = 255
_OF_THE_NETWORK = ("fusion", "hidden", "width", "dropout")


@dataclass(frozen=True)
class TopologySettings:
    """Which persistence images are made of a photograph, and how the network reads them.

    Args:
        name: `none` or `cubical`.
        channel: `green`, in which lesions stand out most, or `grey`.
        size: Side in pixels that the prepared photograph is resized to, from 16.
        resolution: Side R of the persistence images.
        birth_range: First and last birth, in grey levels, at the centres of the outermost columns.
        persistence_range: The same for persistence and rows.
        sigma: Standard deviation of a point's Gaussian, in grey levels.
        weight: `linear` (by persistence, in grey levels) or `constant` (each point counts 1).
        min_persistence: Points that do not exceed it, in grey levels, are noise and left out.
        fusion: `concat` or `gated`, see `retinai.topology.branch`.
        hidden: Widths of the branch's hidden layers.
        width: Features that the branch gives.
        dropout: Probability of dropping a hidden feature of the branch.

    Raises:
        ConfigError: With one sentence for each value that makes no sense.
    """

    name: str = "cubical"
    channel: str = "green"
    size: int = 224
    resolution: int = 32
    birth_range: tuple[float, float] = (0.0, 255.0)
    persistence_range: tuple[float, float] = (0.0, 128.0)
    sigma: float = 4.0
    weight: str = "linear"
    min_persistence: float = 2.0
    fusion: str = "concat"
    hidden: tuple[int, ...] = (256,)
    width: int = 128
    dropout: float = 0.2

    def __post_init__(self) -> None:
        # Numbers of one kind whatever the file says (4 or 4.0): the key of the cache is made of them.
        for key in ("birth_range", "persistence_range", "hidden"):
            value = getattr(self, key)
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise ConfigError([f"topology.{key}={value} is not a list of numbers"])
            object.__setattr__(self, key, tuple(int(v) if key == "hidden" else float(v) for v in value))
        for key in ("sigma", "min_persistence"):
            object.__setattr__(self, key, float(getattr(self, key)))
        problems = _problems(self)
        if problems:
            raise ConfigError(problems)

    @property
    def on(self) -> bool:
        """Whether there is topology at all."""
        return self.name != "none"

    def __str__(self) -> str:
        images = f"{len(CHANNELS)} images of {self.resolution} x {self.resolution}"
        return f"{self.name}, {self.channel} channel at {self.size} px, {images}, {self.fusion}"

    def key(self) -> str:
        """Return a short key of all that decides the images; how a network reads them does not."""
        values = {k: v for k, v in asdict(self).items() if k not in _OF_THE_NETWORK}
        return hashlib.sha256(json.dumps([TOPOLOGY_VERSION, values], sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for checkpoints and JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TopologySettings:
        """Rebuild from `to_dict`, or from the `topology` section of a configuration.

        Raises:
            ConfigError: If a key is unknown or a value makes no sense.
        """
        check_own_kind(values, cls)
        own = {key: value for key, value in values.items() if key != TARGET}
        known = [field.name for field in fields(cls)]
        unknown = [key for key in own if key not in known]
        if unknown:
            raise ConfigError([f"topology does not know {key!r} (valid: {', '.join(known)})" for key in unknown])
        return cls(**own)


def _problems(s: TopologySettings) -> list[str]:
    """Return a sentence for each value that makes no sense."""
    problems = []
    choices = {"name": ("none", "cubical"), "channel": ("green", "grey"), "weight": ("linear", "constant"),
               "fusion": ("concat", "gated")}  # fmt: skip
    for key, valid in choices.items():
        if getattr(s, key) not in valid:
            problems.append(f"topology.{key}={getattr(s, key)} is unknown; valid: {', '.join(valid)}")
    for key, least, most in (("size", 16, 4096), ("resolution", 2, 1024), ("width", 1, 10**6)):
        if not isinstance(getattr(s, key), int) or not least <= getattr(s, key) <= most:
            problems.append(f"topology.{key}={getattr(s, key)} must be a whole number from {least} to {most}")
    for key in ("birth_range", "persistence_range"):
        bounds = getattr(s, key)
        if len(bounds) != 2 or not 0 <= bounds[0] < bounds[1] <= LAST_LEVEL:
            problems.append(f"topology.{key}={list(bounds)} must be two rising numbers from 0 to {LAST_LEVEL}")
    if not s.sigma > 0:
        problems.append(f"topology.sigma={s.sigma} must be more than 0")
    if not 0 <= s.min_persistence < LAST_LEVEL:
        problems.append(f"topology.min_persistence={s.min_persistence} must lie between 0 and {LAST_LEVEL}")
    if any(width < 1 for width in s.hidden):
        problems.append(f"topology.hidden={list(s.hidden)} must be widths from 1")
    if not 0 <= s.dropout < 1:
        problems.append(f"topology.dropout={s.dropout} must be from 0 up to, not including, 1")
    return problems
