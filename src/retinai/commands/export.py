"""`retinai export`: one folder from a checkpoint, for machines that have no PyTorch, or for transformers and peft."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError
from retinai.log import logger
from retinai.output_folders import check_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.modules.exporter import Exporter


# What the folders of ONNX and OpenVINO say of themselves.
_MANIFEST = "model.json"


def run(cfg: DictConfig) -> None:
    """Load a checkpoint and write its folder.

    Args:
        cfg: The composed configuration of `conf/export.yaml`, already checked.

    Raises:
        UserError: If the format does not suit the checkpoint or the machine, or the result is not accurate enough.
    """
    from retinai.ensembles.opening import open_grader_for_data
    from retinai.export.formats import exporters_of

    out = check_out(cfg.out)
    module = open_grader_for_data(cfg.ckpt, None if cfg.get("data") is None else str(cfg.data.name))
    module.task.require_probabilities(
        str(cfg.ckpt),
        "exported folders hold class probabilities, so use the checkpoint itself: retinai predict ckpt= images=",
    )
    exporters = exporters_of(module)
    if cfg.format not in exporters:
        raise UserError(
            f"format={cfg.format} does not suit {cfg.ckpt}, a checkpoint of model {module.model_name!r}; "
            + (f"choose format={' or '.join(exporters)}" if exporters else "it has no form but its checkpoint")
        )
    check_precision(str(cfg.format), str(cfg.precision), exporters)
    exporters[cfg.format].write(cfg, module, out)
    _track(cfg, module.model_name, out)
    logger.info(f"exported: {out}")


def _track(cfg: DictConfig, model: str, out: Path) -> None:
    """Tell W&B, in the group of the run that trained the checkpoint; its files go into that run's folder."""
    from retinai.ensembles.opening import checkpoint_paths
    from retinai.files import read_json
    from retinai.run.checkpoint_data import run_folder_of
    from retinai.run.factories import plain
    from retinai.tracking.lineage import checkpoint_item, exported_item
    from retinai.tracking.measurement import Measurement, flat, tell

    checkpoints = checkpoint_paths(cfg.ckpt)
    runs = [run_folder_of(path) for path in checkpoints]

    def measured() -> Measurement:
        manifest = read_json(out / _MANIFEST) if (out / _MANIFEST).exists() else {}
        return Measurement(
            "export",
            runs[0],
            {"model": model, "format": str(cfg.format), "precision": str(cfg.precision), "split": str(cfg.split)},
            flat(manifest.get("check") or {}, "export/check"),
            taken=[checkpoint_item(path) for path in checkpoints],
            given=[exported_item(out)],
        )

    tell(plain(cfg.logger), measured, runs)


def check_out(out: Any) -> Path:
    """Return the folder to write.

    Raises:
        UserError: If it is a file, holds anything, or cannot be written.
    """
    path = check_folder(out, "out")
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"out={path} is not empty; name a new folder, or remove what is in it")
    return path


def check_precision(format: str, precision: str, exporters: Mapping[str, Exporter]) -> None:
    """Refuse a precision that the format does not have.

    Raises:
        UserError: Names the precisions of the format, and the formats that have the one that was asked for.
    """
    precisions = exporters[format].precisions
    if precision not in precisions:
        if not any(precision in exporter.precisions for exporter in exporters.values()):
            raise UserError(
                f"precision={precision} is not for several checkpoints in one folder; choose precision="
                f"{' or '.join(precisions)}, or export one checkpoint"
            )
        others = " or ".join(name for name, exporter in exporters.items() if precision in exporter.precisions)
        raise UserError(
            f"format={format} has no {precision} on a CPU; choose precision={' or '.join(precisions)}"
            + (f", or format={others}" if others else "")
        )
