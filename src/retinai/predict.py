"""`retinai predict`: grade photographs into a CSV file, a row per file, unreadable ones too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.modules.base import FundusModule


def run(cfg: DictConfig) -> None:
    """Predict photographs and write the table.

    Args:
        cfg: The composed configuration of `conf/predict.yaml`, already checked.
    """
    from retinai.files import write_csv
    from retinai.modules.load import load_module
    from retinai.prediction.files import predict_files
    from retinai.prediction.layouts import choose_layout, find_photographs, write_layout

    out = _check_out(cfg.out)
    photographs = find_photographs(str(cfg.images))
    module: FundusModule = load_module(cfg.ckpt)
    layout = choose_layout(str(cfg.format), module.task, photographs)
    table = predict_files(module, photographs, **_options(cfg))
    write_csv(out, write_layout(layout, table, module.task, photographs))
    bad = table[table["error"] != ""]
    print(f"{len(table)} photographs, {len(bad)} could not be read; written as {layout}: {out}")
    for row in bad.head(10).itertuples():
        print(f"  {row.path}: {row.error}")
    if len(bad) and layout != "retinai":
        print(f"  a {layout} file has no column for reasons: their cells are empty; format=retinai tells all")


def _check_out(out: Any) -> Path:
    path = Path(str(out))
    if path.suffix.lower() != ".csv":
        raise UserError(f"out={path} must be a .csv file")
    if path.is_dir():
        raise UserError(f"out={path} is a folder; name a file")
    return path


def _options(cfg: DictConfig) -> dict[str, Any]:
    batch_size, workers = cfg.batch_size, cfg.num_workers
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size={batch_size} must be a whole number from 1")
    if workers != "auto" and not (isinstance(workers, int) and workers >= 0):
        raise UserError(f"num_workers={workers} must be auto or a whole number from 0")
    return {"batch_size": batch_size, "num_workers": workers, "accelerator": str(cfg.accelerator)}
