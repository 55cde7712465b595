"""BRSET: 16,266 photographs of 8,524 Brazilian patients, with grades, other diseases, quality, age and sex."""

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

# Named by the owner in one release, and by copies of it.
_LABELS = ("labels_brset.csv", "labels.csv")
_FOLDER = "fundus_photos"
_GRADE = "DR_ICDR"
_EYES = {"1": "right", "2": "left", "": ""}


class BrsetSource(Source):
    """BRSET as PhysioNet gives it: `labels_brset.csv` and `fundus_photos/`.

    The grade is `DR_ICDR` (the file has a second scale, `DR_SDRG`). Eyes are numbers, 1 for right. There is no official
    split, and a patient has several photographs, which stay on one side. Every other column can be asked by probes; the
    header is the owner's, misspelt `Illuminaton` included, and ages may be words.

    Args:
        name: Name of the data set.
        root: The folder with `labels_brset.csv` and `fundus_photos/`.
        cache: The cache folder.

    Source: Nakayama et al., "BRSET: A Brazilian Multilabel Ophthalmological Dataset of Retina Fundus Photos", PLOS
        Digital Health 2024.
    """

    root_variable = "RETINAI_BRSET"
    task = DR_GRADE

    def __init__(self, name: str = "brset", root: str | None = None, cache: str | Path | None = None) -> None:
        super().__init__(name, root, cache)

    def _labels(self) -> tuple[Path, pd.DataFrame]:
        there = [name for name in _LABELS if os.path.lexists(self.root / name)]
        file = self.root / (there or _LABELS)[0]
        self.label_file = str(file)
        return file, read_labels(file, ["image_id", "patient_id", "exam_eye", _GRADE])

    def columns(self) -> pd.DataFrame:
        """Return what else the owner says, a column each."""
        _, labels = self._labels()
        return labels.drop(columns=["image_id", "patient_id", _GRADE, "row"]).set_axis(
            pd.Index(labels["image_id"]), axis=0
        )

    def read_table(self) -> pd.DataFrame:
        """Return the photographs."""
        file, labels = self._labels()
        odd = sorted(set(labels["exam_eye"]) - set(_EYES))
        if odd:
            raise DataError(f"{file}: exam_eye is 1 (right) or 2 (left); found {few(odd)}; put the owner's file there")
        names = labels["image_id"].str.removesuffix(".jpg")
        patients = [patient or name for patient, name in zip(labels["patient_id"], names, strict=True)]
        return pd.DataFrame(
            {
                "id": names,
                "path": [str(self.root / _FOLDER / f"{name}.jpg") for name in names],
                "target": as_targets(parse_grades(labels, _GRADE, "image_id", self.task, file)),
                "patient": patients,
                "eye": [_EYES[eye] for eye in labels["exam_eye"]],
                "split": "",
                "source": file.name,
                "row": labels["row"],
            }
        )


class BrsetDataModule(SourceDataModule):
    """BRSET as a datamodule; options of `BrsetSource`, `CurationSettings` and `LoadingSettings`."""

    source_class = BrsetSource
