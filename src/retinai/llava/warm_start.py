"""Start weights of a LLaVA: the adapters and the projector of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import CheckpointError
from retinai.llava.fingerprint import check_fingerprint
from retinai.modules.checkpoint import KEY

if TYPE_CHECKING:
    from retinai.llava.module import LlavaGrader

_FIRST = "linear_1.weight"  # the layer of the projector that reads tokens


def check_projector(state: Mapping[str, Any], module: LlavaGrader) -> None:
    """Refuse a projector that reads tokens of another width than the vision tower at hand gives.

    Args:
        state: State dict of a checkpoint.
        module: The module, built.

    Raises:
        CheckpointError: With both widths.
    """
    _, width = module.network.vision_shape
    for key, value in state.items():
        if key.endswith(_FIRST) and value.ndim == 2 and value.shape[1] != width:
            raise CheckpointError(
                f"the projector was trained on tokens of {value.shape[1]} numbers, and the vision tower of "
                f"{module.backbone_name!r} gives tokens of {width} here; use the same backbone.vision as the run that "
                "made it"
            )


def load_adapters(path: Path, checkpoint: dict[str, Any], module: LlavaGrader) -> list[str]:
    """Load adapters and projector of a checkpoint into a module with the same base network.

    Args:
        path: The file, for messages.
        checkpoint: Its content, read and checked.
        module: The module, built.

    Returns:
        A sentence that says where the weights came from.

    Raises:
        CheckpointError: If the adapters have another shape, or belong to another base network.
    """
    metadata = checkpoint[KEY]
    theirs, ours = metadata.get("adapter") or {}, dict(module.network.tuning.shape)
    if theirs != ours:
        told = [
            f"{key} {theirs.get(key, 'none')} there, {ours.get(key, 'none')} here"
            for key in sorted({*theirs, *ours})
            if theirs.get(key) != ours.get(key)
        ]
        raise CheckpointError(
            f"the adapters of {path} have another shape than this run's ({'; '.join(told)}); set the same tuning="
        )
    try:
        check_projector(checkpoint["state_dict"], module)
        check_fingerprint(
            str((metadata["frozen"] or {}).get("sha256")), module.network.backbone.fingerprint, module.backbone_name
        )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    state, own = checkpoint["state_dict"], module.state_dict()
    kept = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    if not kept:
        raise CheckpointError(f"{path} holds no adapters of this network; choose a checkpoint of model=llava")
    module.load_state_dict({**own, **kept})
    projector = "adapters and projector" if any("multi_modal_projector" in key for key in kept) else "adapters"
    return [f"start weights: {projector} of {path} ({metadata['task']['name']}, {metadata['backbone']})"]
