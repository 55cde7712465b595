"""How Hydra started the command that runs now: its words, its options, and whether it is one run of a sweep."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode


def launched_with() -> tuple[list[str], dict[str, str]]:
    """Return the words of the command line and the option of each group; both empty outside of a command."""
    if not HydraConfig.initialized():
        return [], {}
    hydra = HydraConfig.get()
    choices = {str(k): str(v) for k, v in hydra.runtime.choices.items() if not str(k).startswith("hydra/")}
    return [str(word) for word in hydra.overrides.task], choices


def in_multirun() -> bool:
    """Return whether this run is one of several that a sweep (`-m`) makes."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def in_sweep() -> bool:
    """Return whether this run is a job of a sweep with a record, which names each run's folder itself."""
    return in_multirun() and HydraConfig.get().sweep.subdir == "."


def job_number() -> str:
    """Return the number that a multirun without a record adds to `run_dir=`; empty where there is none."""
    return str(HydraConfig.get().job.num) if in_multirun() and not in_sweep() else ""
