"""What the keys of all commands share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from retinai.config.sections.base import UNSET, Path, Section

Processes = Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
BatchSize = Annotated[int, Field(ge=1, le=2**16)]
# Several answer as one, see `retinai.ensembles`.
Checkpoints = Path | Annotated[list[Path], Field(min_length=1)]


class Command(Section):
    """A command: keys that stand outside of all sections."""

    debug: bool = UNSET
