"""EyePACS (Kaggle, Diabetic Retinopathy Detection): two graded photographs of each person."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from retinai.data.datamodule import SourceDataModule
from retinai.data.sources.label_files import parse_grades, read_labels
from retinai.data.sources.label_table import as_targets, few
from retinai.data.sources.source import Source
from retinai.errors import DataError
from retinai.tasks.known import DR_GRADE

_PARTS = (("trainLabels.csv", "train"), ("retinopathy_solution.csv", "test"))
_EYES = ("left", "right")


class EyepacsSource(Source):
    """EyePACS as Kaggle gives it: `trainLabels.csv`, `train/`, and `retinopathy_solution.csv`, `test/` where present.

    A name says whose photograph it is and which eye: `10_left` is of patient 10. With the solution file its photographs
    are the test part; without it the training photographs are split here, both eyes of a person on one side.

    Args:
        name: Name of the data set.
        root: The folder with `trainLabels.csv` and `train/`.
        cache: The cache folder.
    """

    root_variable = "RETINAI_EYEPACS"
    task = DR_GRADE

    def __init__(self, name: str = "eyepacs", root: str | None = None, cache: str | Path | None = None) -> None:
        super().__init__(name, root, cache)

    def read_table(self) -> pd.DataFrame:
        """Return the graded photographs of both parts."""
        self.label_file = str(self.root / _PARTS[0][0])
        there = [(file, folder) for file, folder in _PARTS if os.path.lexists(self.root / file)]
        if not there:
            there = [_PARTS[0]]  # told as missing
        return pd.concat([self._part(file, folder, len(there) > 1) for file, folder in there], ignore_index=True)

    def _part(self, file: str, folder: str, official: bool) -> pd.DataFrame:
        labels = read_labels(self.root / file, ["image", "level"])
        names = labels["image"].str.removesuffix(".jpeg")
        split = names.str.rpartition("_")
        odd = names[~split[2].isin(_EYES) | (split[0] == "")].tolist()
        if odd:
            raise DataError(
                f"{self.root / file}: names are a patient and an eye, such as 10_left; found {few(odd)}; put the "
                "owner's file there"
            )
        return pd.DataFrame(
            {
                "id": names,
                "path": [str(self.root / folder / f"{name}.jpeg") for name in names],
                "target": as_targets(parse_grades(labels, "level", "image", self.task, self.root / file)),
                "patient": split[0],
                "eye": split[2],
                "split": folder if official else "",
                "source": file,
                "row": labels["row"],
            }
        )


class EyepacsDataModule(SourceDataModule):
    """EyePACS as a datamodule; options of `EyepacsSource`, `CurationSettings` and `LoadingSettings`."""

    source_class = EyepacsSource
