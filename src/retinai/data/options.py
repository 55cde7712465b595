"""Options of a datamodule that make no sense, as the `data` section declares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retinai.config.sections import problems
from retinai.config.sections.data import Data

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule

_KEYS = ("batch_size", "num_workers", "folds", "fold", "val_fraction", "test_fraction", "split_seed", "limit",
         "on_bad_image", "near_duplicates", "findings")  # fmt: skip


def option_problems(datamodule: FundusDataModule) -> list[str]:
    """Return a sentence for each option whose value makes no sense."""
    values = {key: getattr(datamodule, key) for key in _KEYS}
    split_file = datamodule.split_file
    return problems(Data, values | {"split_file": None if split_file is None else str(split_file)}, "data")
