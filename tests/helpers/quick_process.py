"""What lets a process of tests do less twice: compositions, files of `conf/`, and the search for garbage."""

from __future__ import annotations

import copy
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra._internal import defaults_list
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

_OWN = tuple(f"{Path(__file__).resolve().parents[2] / folder}{os.sep}" for folder in ("conf", "experiments"))

_PATCHED: list[Any] = []


def pytest_collection_finish() -> None:
    """Leave what imports made out of the search for garbage: it stays, and to look through it takes half a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def pytest_unconfigure() -> None:
    """Let the interpreter's end find everything again; libraries complain of what it leaves."""
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="session")
def one_composition() -> Iterator[None]:
    """Let Hydra compose a command once: it does so before, too, to read `hydra.mode`, which no test sets.

    And let it parse each file of the repository's configuration once; a test's own files are read whenever they are
    asked for, and so is one that was written anew.
    """
    parse, gather = OmegaConf.load, defaults_list._create_interpolation_map
    parsed: dict[tuple[str, int, int], Any] = {}

    def load(file: Any) -> Any:
        name = os.path.realpath(getattr(file, "name", "") or "")
        if not name.startswith(_OWN):
            return parse(file)
        state = os.fstat(file.fileno())
        key = (name, state.st_mtime_ns, state.st_size)
        if key not in parsed:
            parsed[key] = parse(file)
        return copy.deepcopy(parsed[key])

    def map_of_choices(overrides: Any, defaults: list[Any], self_added: bool) -> Any:
        # What `${...}` in a list of defaults may refer to; Hydra gathers it for each file, and few ask for it.
        asked = any(default.is_interpolation() for default in defaults)
        return gather(overrides, defaults, self_added) if asked else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hydra, "get_mode", lambda *_, **__: None)
        patch.setattr(defaults_list, "_create_interpolation_map", map_of_choices)
        patch.setattr(OmegaConf, "load", staticmethod(load))
        yield


@pytest.fixture(autouse=True)
def one_registry_of_operators() -> None:
    """Let PyTorch's exporter gather what ONNX has for its operators once: it does so for every graph, for a second."""
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")  # there after the first export
    if registration is None or registration in _PATCHED:
        return
    kind, gathered = registration.ONNXRegistry, dict[int, Any]()
    gather = kind.from_torchlib.__func__

    def from_torchlib(cls: Any, opset_version: int = 18) -> Any:
        if opset_version not in gathered:
            gathered[opset_version] = gather(cls, opset_version)
        registry = copy.copy(gathered[opset_version])
        # A graph adds its own functions to the lists.
        registry.functions = {target: [*found] for target, found in registry.functions.items()}
        return registry

    kind.from_torchlib = classmethod(from_torchlib)
    _PATCHED.append(registration)
