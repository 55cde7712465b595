"""Start weights from an earlier run (`+init=ckpt`, `+init=idrid_ckpt`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import CheckpointError, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.modules.base import FundusModule


def start_checkpoint(cfg: DictConfig, folder: Path) -> Path | None:
    """Return the checkpoint that the `init` section asks for; None without such a section.

    A resumed run that has written `last.ckpt` takes its weights from there; one that was stopped before
    begins again, so it needs the start weights that it began with.

    Args:
        cfg: Composed training configuration.
        folder: The run folder.

    Raises:
        UserError: If no finished run fits.
    """
    if cfg.resume and (folder / "checkpoints" / "last.ckpt").exists():
        return None
    if not cfg.get("init"):
        return None
    if cfg.init.path:
        return Path(cfg.init.path)
    return newest_run(cfg, str(cfg.init.data)) / "checkpoints" / "best.ckpt"


def newest_run(cfg: DictConfig, data: str) -> Path:
    """Return the folder of the newest finished run on a data set with the same model and backbone.

    Args:
        cfg: Composed training configuration (`paths.outputs`, `model.name`, `backbone.name`).
        data: Name of the data set.

    Raises:
        UserError: If there is none; says the command that makes one.
    """
    from retinai.run.records import find_runs

    root = Path(cfg.paths.outputs)
    wanted = {"status": "finished", "data": data, "model": cfg.model.name, "backbone": cfg.backbone.name}
    for run in find_runs(root) if root.is_dir() else []:
        folder = Path(run["folder"])
        if all(run.get(k) == v for k, v in wanted.items()) and (folder / "checkpoints" / "best.ckpt").exists():
            return folder
    raise UserError(
        f"+init={data}_ckpt finds no finished run of model={cfg.model.name} backbone={cfg.backbone.name} on {data} "
        f"below {root}; make one with: python train.py model={cfg.model.name} backbone={cfg.backbone.name} "
        f"data={data} phase=warmup, or name a checkpoint with init.path="
    )


def load_start_weights(path: Path, module: FundusModule) -> list[str]:
    """Load the weights of a checkpoint into a module; the head stays fresh when the task differs.

    Args:
        path: A retinai checkpoint.
        module: A module with the same backbone.

    Returns:
        Sentences that say where the weights came from and what stayed fresh.

    Raises:
        CheckpointError: If the checkpoint is unusable, or of another model, backbone or shape of adapters.
    """
    from retinai.encoders.lora import is_adapter, start_state
    from retinai.encoders.weights import read_checkpoint
    from retinai.modules.checkpoint import check_topology, read_metadata
    from retinai.modules.load import load_module

    checkpoint = read_checkpoint(path)
    metadata = read_metadata(checkpoint, f"checkpoint {path}")
    theirs = {"model": _network_of(metadata["target"].rpartition(".")[2]), "backbone": metadata["backbone"]}
    ours = _identity(module)
    for what in ("model", "backbone"):
        if theirs[what] != ours[what]:
            raise CheckpointError(
                f"{path} is of {what} {theirs[what]!r}, this run is of {ours[what]!r}; they do not fit"
            )
    if "adapter" in metadata:
        return _load_adapters(path, checkpoint, module)
    check_topology(module, metadata, f"checkpoint {path}")
    source = load_module(path)
    same_task = source.task == module.task
    state, adapters = start_state(source, module)
    own = module.state_dict()
    kept = {
        k: v
        for k, v in state.items()
        if k in own and own[k].shape == v.shape and (same_task or ".head." not in f".{k}")
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
    told = [f"start weights: {path} ({source.task.name}, {theirs['backbone']})"]
    if adapters:
        told.append(f"start weights: {adapters}")
    if any(not is_adapter(key) for key in fresh):
        change = "" if same_task else f" ({source.task.name} to {module.task.name})"
        told.append(f"the head starts fresh{change}")
    return told


def _load_adapters(path: Path, checkpoint: dict[str, Any], module: FundusModule) -> list[str]:
    """Load adapters and projector; the base network is the module's own and is not read a second time."""
    from retinai.llava.fingerprint import check_fingerprint

    metadata = checkpoint["retinai"]
    theirs, ours = metadata["adapter"], dict(module.network.tuning.shape)
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


def _identity(module: FundusModule) -> dict[str, Any]:
    return {"model": _network_of(type(module).__name__), "backbone": module.backbone_name}


def _network_of(name: str) -> str:
    """Return the module whose network a module has: a distilled student is a classifier like any other."""
    return "Classifier" if name == "Distiller" else name
