"""Which checkpoint a run takes its start weights from (`+init=ckpt`, `+init=idrid_ckpt`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retinai.errors import UserError
from retinai.run.run_records import find_runs

if TYPE_CHECKING:
    from omegaconf import DictConfig


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
