"""Lightning callbacks of a run: checkpoints, early stopping, `metrics.csv`, progress, averaged weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Callback

# Without these a run has no result to test, no way to go on, and no curve.
NEEDED = ("best", "last", "metrics_csv")


def make_callbacks(nodes: Mapping[str, Any], run_folder: str | Path, monitor: str, mode: str = "max") -> list[Callback]:
    """Build the callbacks of a run from the `callbacks` section.

    Args:
        nodes: Name to section with `_target_`, or to null for a callback that is switched off. Where a class
            takes `run_folder`, `monitor` or `mode` and the section gives none, it gets those given here.
        run_folder: The run folder.
        monitor: Name of the validation metric that chooses the best epoch.
        mode: Whether a good value is high (`max`) or low (`min`).

    Returns:
        The callbacks in the order of the section, checkpoints last, `last` the very last.

    Raises:
        ConfigError: If a needed callback is switched off, or one cannot be built.
    """
    import inspect

    from lightning.pytorch import Callback

    from retinai.callbacks.quiet import quiet_lightning
    from retinai.config.build import build, check_kind
    from retinai.errors import ConfigError, UserError, missing_extra

    off = [name for name in NEEDED if nodes.get(name) is None]
    if off:
        raise ConfigError([f"callbacks.{name} cannot be switched off: a run needs it" for name in off])
    quiet_lightning()
    offered = {"run_folder": str(run_folder), "monitor": monitor, "mode": mode}
    order = [name for name in nodes if name not in ("best", "last")] + ["best", "last"]
    callbacks = []
    for name in order:
        node = nodes[name]
        if node is None:
            continue
        takes = inspect.signature(check_kind(node, Callback, trusted=True)).parameters
        extra = {key: value for key, value in offered.items() if key in takes and node.get(key) is None}
        try:
            callbacks.append(build(node, Callback, trusted=True, **extra))
        except UserError:
            raise
        except Exception as error:  # its constructor is the library's or the user's, and raises what it likes
            missing = missing_extra(error) if isinstance(error, ModuleNotFoundError) else None
            said = " ".join(str(error).split()) or type(error).__name__
            raise missing or ConfigError([f"callbacks.{name} cannot be built with these values: {said}"]) from error
    return callbacks
