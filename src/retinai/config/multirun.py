"""`-m` with commands that keep no record of a sweep: Hydra runs them one after the other, and nothing is left of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from retinai.errors import ConfigError

# The command whose multiruns are sweeps with a record, a folder and a report (`retinai.sweeps`).
_SWEPT = "train"
_OF_SWEEPS = ("hydra/launcher", "hydra/sweeper")


@contextmanager
def without_traces(command: str, arguments: Sequence[str]) -> Iterator[list[str]]:
    """Yield the arguments of a command such that a multirun of it leaves no folder of Hydra's behind.

    Hydra writes the composed configuration and a folder per job below `hydra.sweep.dir`; the results of these commands
    go where their own keys say. A `hydra.sweep.dir=` on the command line is kept.

    Args:
        command: Name of the command.
        arguments: Hydra overrides and flags as typed.

    Raises:
        ConfigError: If the jobs shall run on a cluster or be searched, which only `retinai train` does.
    """
    if command == _SWEPT or not {"-m", "--multirun"} & set(arguments):
        yield list(arguments)
        return
    keys = [word.partition("=")[0].lstrip("+") for word in arguments]
    if asked := [word for word, key in zip(arguments, keys, strict=True) if key in _OF_SWEEPS]:
        raise ConfigError(
            [f"{asked[0]} is for sweeps of retinai train; retinai {command} -m runs here, one after the other"]
        )
    if "hydra.sweep.dir" in keys:
        yield list(arguments)
        return
    with tempfile.TemporaryDirectory(prefix="retinai-") as folder:
        yield [f"hydra.sweep.dir={folder}", *arguments]  # Hydra takes no word after a flag
