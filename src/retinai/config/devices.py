"""Whether the machine has the devices that a configuration asks for, and what this process takes of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retinai.errors import ConfigError


def check_machine(command: str, cfg: DictConfig) -> None:
    """Refuse devices that are asked for and are not there.

    Apart from the checks of the configuration, which hold on any machine. PyTorch is only imported where something
    else than the CPU is asked for.

    Args:
        command: The command that composed the configuration.
        cfg: The configuration, checked.

    Raises:
        ConfigError: With one sentence for each device.
    """
    place = "trainer." if command == "train" else ""
    if command == "predict" and OmegaConf.select(cfg, "model.folder") is not None:
        return  # the exported folder says itself what it runs on; PyTorch may not be there
    accelerator = OmegaConf.select(cfg, f"{place}accelerator")
    devices: Any = OmegaConf.select(cfg, f"{place}devices")
    devices = list(devices) if OmegaConf.is_list(devices) else devices
    problems: list[str] = []
    if accelerator == "cpu":
        problems += _devices_of_cpu(devices)
    elif accelerator in ("gpu", "cuda", "mps"):
        problems += _accelerator(f"{place}accelerator", str(accelerator), devices)
    elif accelerator == "auto" and (isinstance(devices, list) or (isinstance(devices, int) and devices > 1)):
        problems += _devices_of_gpus(devices) if _gpus() else _devices_of_cpu(devices)
    if problems:
        raise ConfigError(problems)


def _devices_of_cpu(devices: Any) -> Iterator[str]:
    if isinstance(devices, list):
        yield f"trainer.devices={devices} names GPUs, but the run is on a CPU; give a number of processes"
    elif isinstance(devices, int) and devices > max(available_cores(), 2):
        yield (
            f"trainer.devices={devices} would start {devices} processes on a CPU with {available_cores()} cores; "
            "choose a number up to that"
        )


def _accelerator(where: str, accelerator: str, devices: Any) -> Iterator[str]:
    import torch

    has_mps = torch.backends.mps.is_available()
    there = {"cuda": bool(_gpus()), "mps": has_mps, "gpu": bool(_gpus()) or has_mps}[accelerator]
    if not there:
        instead = (
            "trainer=cpu or trainer=auto" if where.startswith("trainer") else "accelerator=cpu or accelerator=auto"
        )
        yield f"{where}={accelerator}: PyTorch finds no such device on this machine; choose {instead}"
    elif _gpus():
        yield from _devices_of_gpus(devices)


def _devices_of_gpus(devices: Any) -> Iterator[str]:
    count = _gpus()
    if isinstance(devices, int) and not isinstance(devices, bool) and devices > count:
        yield f"trainer.devices={devices}: this machine has {count} GPU{'s' if count > 1 else ''}"
    if isinstance(devices, list):
        absent = [d for d in devices if isinstance(d, int) and d >= count]
        if absent or len(set(devices)) != len(devices):
            yield f"trainer.devices={devices}: name each GPU once, from 0 to {count - 1}"


def available_cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def peak_memory() -> float:
    """Return the most memory that this process has had, in megabytes (10^6 bytes), libraries included."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        return kilobytes * 1024 / 1e6
    except OSError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6
