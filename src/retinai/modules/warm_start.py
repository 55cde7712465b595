"""Start weights from the checkpoint of an earlier run (`+init=ckpt`, `+init=idrid_ckpt`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retinai.encoders.lora import is_adapter, start_state
from retinai.encoders.weights import read_checkpoint
from retinai.errors import CheckpointError
from retinai.modules.base import BaseModule
from retinai.modules.checkpoint import read_metadata
from retinai.modules.load import load_any_module


def load_start_weights(path: Path, module: BaseModule) -> list[str]:
    """Load the weights of a checkpoint into a module; the head stays fresh when the task differs.

    Args:
        path: A retinai checkpoint.
        module: A module with the same backbone.

    Returns:
        Sentences that say where the weights came from and what stayed fresh.

    Raises:
        CheckpointError: If the checkpoint is unusable, or of another model, backbone or shape of adapters.
    """
    checkpoint = read_checkpoint(path)
    metadata = read_metadata(checkpoint, f"checkpoint {path}")
    ours = {"network": module.network_kind, "backbone": module.backbone_name}
    for what, word in (("network", "model"), ("backbone", "backbone")):
        if metadata[what] != ours[what]:
            raise CheckpointError(
                f"{path} is of {word} {metadata[what]!r}, this run is of {ours[what]!r}; they do not fit: "
                "choose the same, or for the encoder alone backbone.weights=CHECKPOINT instead of +init="
            )
    told = module.take_start_weights(path, checkpoint)
    return _load_same_network(path, metadata, module) if told is None else told


def _load_same_network(path: Path, metadata: dict[str, Any], module: BaseModule) -> list[str]:
    module.check_architecture(metadata, f"checkpoint {path}")
    source = load_any_module(path)
    theirs, ours = (one.metadata().get("task") for one in (source, module))
    state, adapters = start_state(source, module)
    own = module.state_dict()
    kept = {
        k: v
        for k, v in state.items()
        if k in own and own[k].shape == v.shape and (theirs == ours or ".head." not in f".{k}")
    }
    fresh = sorted(set(own) - set(kept))
    explained = {k for k in fresh if ".head." in f".{k}" or k.startswith("criterion.")}
    explained |= {k for k in fresh if adapters and is_adapter(k)}
    unexplained = [k for k in fresh if k not in explained]
    if unexplained:
        raise CheckpointError(
            f"{path} does not fit this run's network: {len(unexplained)} tensors are missing or of another shape, "
            f"first {unexplained[0]!r}; use the same attention=, tuning= and backbone settings"
        )
    module.load_state_dict({**own, **kept})
    learned = "" if theirs is None else f"{theirs['name']}, "
    told = [f"start weights: {path} ({learned}{metadata['backbone']})"]
    if adapters:
        told.append(f"start weights: {adapters}")
    if any(not is_adapter(key) for key in fresh):
        change = "" if theirs == ours or theirs is None or ours is None else f" ({theirs['name']} to {ours['name']})"
        told.append(f"the head starts fresh{change}")
    return told
