"""APTOS 2019 Blindness Detection: 3,662 graded photographs, and 1,928 without labels to predict."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from retinai.data.datamodule import SourceDataModule
from retinai.data.sources.label_files import parse_grades, read_labels
from retinai.data.sources.label_table import as_targets
from retinai.data.sources.source import Source
from retinai.tasks.known import DR_GRADE


class AptosSource(Source):
    """APTOS 2019 as Kaggle gives it: `train.csv`, `train_images/`, and `test.csv`, `test_images/` where present.

    The owner gives no split and no patients: 70/15/15, stratified, near-duplicates on one side. The
    unlabelled test photographs are the `predict` split.

    Args:
        name: Name of the data set.
        root: The folder with `train.csv` and `train_images/`.
        cache: The cache folder.
    """

    root_variable = "RETINAI_APTOS"
    task = DR_GRADE

    def __init__(self, name: str = "aptos", root: str | None = None, cache: str | Path | None = None) -> None:
        super().__init__(name, root, cache)

    def read_table(self) -> pd.DataFrame:
        """Return the labelled photographs and, where `test.csv` is there, the unlabelled ones."""
        file = self.root / "train.csv"
        self.label_file = str(file)
        labels = read_labels(file, ["id_code", "diagnosis"])
        grades = parse_grades(labels, "diagnosis", "id_code", self.task, file)
        table = self._rows(labels, grades, "train_images", "")
        if os.path.lexists(self.root / "test.csv"):  # a pipe or a link to nothing is told, not passed over
            unlabelled = read_labels(self.root / "test.csv", ["id_code"])
            table = pd.concat([table, self._rows(unlabelled, [None] * len(unlabelled), "test_images", "predict")])
        return table

    def _rows(self, labels: pd.DataFrame, targets: list[Any], folder: str, split: str) -> pd.DataFrame:
        names = labels["id_code"].str.removesuffix(".png")
        return pd.DataFrame(
            {
                "id": names,
                "path": [str(self.root / folder / f"{name}.png") for name in names],
                "target": as_targets(targets),
                "patient": names,
                "eye": "",
                "split": split,
                "source": "test.csv" if split else "train.csv",
                "row": labels["row"],
            }
        )


class AptosDataModule(SourceDataModule):
    """APTOS 2019 as a datamodule; options of `AptosSource`, `CurationSettings` and `LoadingSettings`."""

    source_class = AptosSource
