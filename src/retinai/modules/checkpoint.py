"""What a checkpoint holds beside Lightning's own: all that is needed to use it without its config folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

import retinai
from retinai.encoders.checkpoint_content import STATES, refuse_not_finite
from retinai.encoders.checkpoint_metadata import FORMAT, KEY, read_metadata
from retinai.encoders.tuning import hash_tensors
from retinai.errors import CheckpointError

if TYPE_CHECKING:
    from retinai.modules.base import BaseModule


def write_metadata(module: BaseModule, checkpoint: dict[str, Any]) -> None:
    """Add what retinai needs to a checkpoint, and take the frozen weights out that can be had again.

    Weights that are no finite numbers are refused: such a checkpoint would grade everybody alike.

    Frozen weights are left out when they still equal what the backbone section loads; their SHA-256
    stays, and loading checks it.

    Args:
        module: The module that is saved.
        checkpoint: Lightning's checkpoint, changed in place.

    Raises:
        UserError: If weights are no finite numbers.
    """
    refuse_not_finite(checkpoint, int(checkpoint.get("epoch", 0)))
    checkpoint[KEY] = {
        "format": FORMAT,
        "version": retinai.__version__,
        **module.metadata(),
        "frozen": None,
    }
    keys, digest = module.frozen_keys, module.fetchable_sha256
    states = [checkpoint[name] for name in STATES if name in checkpoint]
    if not keys or digest is None or any(hash_tensors(state, keys) != digest for state in states):
        return
    for name in STATES:
        if name in checkpoint:
            checkpoint[name] = {k: v for k, v in checkpoint[name].items() if k not in keys}
    checkpoint[KEY]["frozen"] = {"sha256": digest, "tensors": len(keys)}


def store_calibration(path: str | Path, calibration: Mapping[str, Any] | None) -> bool:
    """Write a calibration into a checkpoint, see `store_metadata`.

    Args:
        path: A checkpoint of retinai.
        calibration: Of `fit_calibration`, or None.
    """
    return store_metadata(path, "calibration", calibration)


def store_metadata(path: str | Path, key: str, value: Any) -> bool:
    """Write what was found after the training into a checkpoint; the file stays whole at every moment.

    Args:
        path: A checkpoint of retinai.
        key: Where it stands in retinai's part.
        value: Plain values, or None.

    Returns:
        Whether the file was changed; what it holds already is not written again.

    Raises:
        CheckpointError: If the file is no checkpoint of retinai.
        UserError: If the disk is full.
    """
    from retinai.encoders.checkpoint_io import AtomicCheckpointIO

    files = AtomicCheckpointIO()
    checkpoint = files.load_checkpoint(path)
    metadata, kept = read_metadata(checkpoint, f"checkpoint {path}"), plain(value)
    if metadata.get(key) == kept:
        return False
    metadata[key] = kept
    files.save_checkpoint(checkpoint, path)
    return True


def restore_frozen_weights(module: BaseModule, checkpoint: dict[str, Any]) -> None:
    """Put the left-out frozen weights back into a checkpoint and check that it fits the module.

    Args:
        module: The module to load into, its backbone's own weights already in place.
        checkpoint: What was read, changed in place.

    Raises:
        CheckpointError: If the frozen weights differ from the ones of the run, a trained key is
            missing, or a shape is of another network.
    """
    metadata = read_metadata(checkpoint, "the checkpoint")
    module.check_architecture(metadata, "the checkpoint")
    own = module.state_dict()
    frozen = metadata.get("frozen")
    if frozen:
        keys = module.frozen_keys
        if module.fetchable_sha256 != frozen["sha256"] or hash_tensors(own, keys) != frozen["sha256"]:
            raise CheckpointError(
                f"the checkpoint leaves out the frozen weights of backbone {metadata['backbone']!r}, and those at hand "
                "differ from the ones it was trained with (SHA-256); use the same tuning= and the same backbone.weights"
            )
        for name in STATES:
            if name in checkpoint:
                checkpoint[name] = {**{k: own[k] for k in keys}, **checkpoint[name]}
    for name in STATES:
        if name in checkpoint:
            check_state_dict(checkpoint[name], own, metadata)


def check_state_dict(state: Mapping[str, Tensor], own: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Refuse a state dict whose keys or shapes are not those of the network.

    Raises:
        CheckpointError: Names the first tensor of each fault.
    """
    missing = sorted(set(own) - set(state))
    unexpected = sorted(set(state) - set(own))
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    faults = []
    if missing:
        faults.append(f"{len(missing)} trained tensors are missing (first {missing[0]!r})")
    if unexpected:
        faults.append(f"{len(unexpected)} tensors have no place (first {unexpected[0]!r})")
    if shapes:
        key = shapes[0]
        faults.append(f"{len(shapes)} tensors are of another shape (first {key!r}: {tuple(state[key].shape)}, "
                      f"the network has {tuple(own[key].shape)})")  # fmt: skip
    if faults:
        raise CheckpointError(
            f"the checkpoint (model {metadata['model']!r}, backbone {metadata['backbone']!r}) is of another network: "
            f"{'; '.join(faults)}; use the settings that it was trained with"
        )


def plain(value: Any) -> Any:
    """Return a copy made of dict, list, str, int, float, bool and None only.

    Raises:
        TypeError: If a value has no plain form; a hyperparameter must have one.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"a checkpoint holds plain values only, not {type(value).__name__}")
