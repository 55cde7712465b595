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
    if cfg.format not in FORMATS:
        raise UserError(f"format={cfg.format} is unknown (valid: {', '.join(FORMATS)})")
    known = sorted({p for precisions in _PRECISIONS.values() for p in precisions})
    if cfg.precision not in known:
        raise UserError(f"precision={cfg.precision} is unknown (valid: {', '.join(known)})")
    if cfg.precision not in _PRECISIONS[cfg.format]:
        others = [f for f, precisions in _PRECISIONS.items() if cfg.precision in precisions and f != cfg.format]
        raise UserError(
            f"format={cfg.format} has no {cfg.precision} on a CPU; choose precision="
            f"{' or '.join(_PRECISIONS[cfg.format])}, or format={' or '.join(others)}"
        )
    for key in ("max_difference", "max_drop"):
        value = cfg[key]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise UserError(f"{key}={value} must be a number from 0")
    if not isinstance(cfg.int8_photographs, int) or cfg.int8_photographs < 1:
        raise UserError(f"int8_photographs={cfg.int8_photographs} must be a whole number from 1")
    if not isinstance(cfg.int8_reduce_range, bool):
        raise UserError(f"int8_reduce_range={cfg.int8_reduce_range} must be true or false")
    if cfg.split not in ("test", "val", "train"):
        raise UserError(f"split={cfg.split} has no labels to compare on (valid: test, val, train)")
