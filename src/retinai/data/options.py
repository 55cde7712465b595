"""Options of a datamodule that make no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retinai.data.base import FundusDataModule


def option_problems(datamodule: FundusDataModule) -> list[str]:
    """Return a sentence for each option whose value makes no sense."""
    problems = []
    if datamodule.on_bad_image not in ("error", "skip"):
        problems.append(f"data.on_bad_image={datamodule.on_bad_image!r} is unknown (valid: error, skip)")
    if datamodule.folds is not None and not 0 <= datamodule.fold < datamodule.folds:
        problems.append(f"data.fold={datamodule.fold} must be from 0 to data.folds - 1 = {datamodule.folds - 1}")
    if datamodule.folds is not None and datamodule.split_file is not None:
        problems.append("data.folds and data.split_file both decide the split; give one of them")
    if datamodule.folds is not None and datamodule.folds < 2:
        problems.append(f"data.folds={datamodule.folds} must be 2 or more")
    for key in ("val_fraction", "test_fraction"):
        if not 0 < getattr(datamodule, key) < 1:
            problems.append(f"data.{key}={getattr(datamodule, key)} must lie between 0 and 1")
    if datamodule.val_fraction + datamodule.test_fraction >= 1:
        problems.append("data.val_fraction and data.test_fraction together leave nothing to train on")
    if datamodule.limit is not None and datamodule.limit < 1:
        problems.append(f"data.limit={datamodule.limit} must be 1 or more")
    if datamodule.batch_size < 1:
        problems.append(f"data.batch_size={datamodule.batch_size} must be 1 or more")
    if datamodule.num_workers != "auto" and not (
        isinstance(datamodule.num_workers, int) and datamodule.num_workers >= 0
    ):
        problems.append(f"data.num_workers={datamodule.num_workers!r} must be auto or a whole number from 0")
    return problems
