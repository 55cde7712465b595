"""`retinai export`: one folder from a checkpoint, for machines that have no PyTorch, or for transformers and peft."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError
from retinai.export.formats import FORMATS
from retinai.places import check_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.modules.base import FundusModule

_PRECISIONS = {"onnx": ("fp32", "int8"), "openvino": ("fp32", "bf16", "int8"), "hf": ("fp32",)}


def run(cfg: DictConfig) -> None:
    """Load a checkpoint and write its folder.

    Args:
        cfg: The composed configuration of `conf/export.yaml`, already checked.

    Raises:
        UserError: If the format does not suit the checkpoint or the machine, or the result is not accurate enough.
    """
    from retinai.modules.load import load_module

    _check_options(cfg)
    out = check_out(cfg.out)
    module: FundusModule = load_module(cfg.ckpt)
    if cfg.format not in module.export_formats:
        raise UserError(
            f"format={cfg.format} does not suit {cfg.ckpt}, a checkpoint of model {module.model_name!r}; "
            f"choose format={' or '.join(module.export_formats)}"
        )
    place, _, name = FORMATS[cfg.format].partition(":")
    write: Callable[[Any, Any, Path], None] = getattr(importlib.import_module(place), name)
    write(cfg, module, out)
    print(f"exported: {out}")


def check_out(out: Any) -> Path:
    """Return the folder to write.

    Raises:
        UserError: If it is a file, holds anything, or cannot be written.
    """
    path = check_folder(out, "out")
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"out={path} is not empty; name a new folder, or remove what is in it")
    return path


def _check_options(cfg: DictConfig) -> None:
    if cfg.precision not in _PRECISIONS[cfg.format]:
        others = [f for f, precisions in _PRECISIONS.items() if cfg.precision in precisions and f != cfg.format]
        raise UserError(
            f"format={cfg.format} has no {cfg.precision} on a CPU; choose precision="
            f"{' or '.join(_PRECISIONS[cfg.format])}, or format={' or '.join(others)}"
        )
