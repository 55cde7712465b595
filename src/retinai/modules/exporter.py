"""What a module can be exported to: a format's name leads to one of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Exporter:
    """A format of `retinai export`.

    Args:
        write: Takes the composed configuration of `conf/export.yaml`, the module and the folder to write, which
            appears whole or not at all.
        precisions: What `precision=` may be.
    """

    write: Callable[[Any, Any, Path], None]
    precisions: tuple[str, ...]
