"""That a loaded network is the one that its folder speaks of: inputs, output, and what it gives when it runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from retinai.errors import UserError
from retinai.prediction.outside import DISTANCE
from retinai.runtime.engines import Engine
from retinai.runtime.folder import MEMBERS, PHOTOGRAPH, PROBABILITY, ModelFolder


def check_graph(engine: Engine, folder: ModelFolder) -> None:
    """Refuse a network whose inputs or output are others than the folder says, or that gives no probabilities.

    Two made-up photographs are graded, black and noise: weights that are not finite show in what comes out.

    Args:
        engine: The loaded network.
        folder: What `model.json` says.

    Raises:
        UserError: Says what does not fit.
    """
    for what, found, expected in (
        ("inputs", engine.inputs(), folder.inputs),
        ("outputs", engine.outputs(), folder.outputs),
    ):
        if found != expected:
            raise _misfit(folder, f"its {what} are {_told(found)} where {_told(expected)} are needed")
    try:
        given = engine.run(_made_up(folder))
    except Exception as error:  # each engine has exception classes of its own
        raise _misfit(folder, f"it does not run ({' '.join(str(error).split())[:200]})") from error
    members = given.get(MEMBERS, given[PROBABILITY][:, None])
    faults = (folder.task.probability_fault(one) for one in (given[PROBABILITY], *members.swapaxes(0, 1)))
    if fault := next(filter(None, faults), None):
        raise _misfit(folder, fault)
    if DISTANCE in given and not (np.isfinite(given[DISTANCE]).all() and (given[DISTANCE] >= 0).all()):
        raise _misfit(folder, "a distance that it gives is no number from 0")


def _made_up(folder: ModelFolder) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {name: (2, *facts["shape"][1:]) for name, facts in folder.inputs.items()}
    inputs: dict[str, np.ndarray] = {PHOTOGRAPH: generator.integers(0, 256, shapes[PHOTOGRAPH], dtype=np.uint8)}
    inputs |= {field.name: generator.random(shapes[field.name], dtype=np.float32) for field in folder.fields}
    for array in inputs.values():
        array[0] = 0
    return inputs


def _misfit(folder: ModelFolder, fault: str) -> UserError:
    return UserError(
        f"{folder.path / folder.network} is not the network that {folder.path} speaks of: {fault}; "
        "export the checkpoint anew"
    )


def _told(tensors: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{name} {facts['type']} {facts['shape']}" for name, facts in tensors.items())
