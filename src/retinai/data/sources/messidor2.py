"""Messidor-2 with the adjudicated grades of Krause et al.: 1,748 photographs, four of them ungradable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pandas as pd

from retinai.data.datamodule import SourceDataModule
from retinai.data.sources.label_files import parse_flags, parse_grades, read_labels, without_suffix
from retinai.data.sources.label_table import as_targets, few
from retinai.data.sources.source import Source
from retinai.errors import DataError
from retinai.tasks.binary import BinaryTask
from retinai.tasks.known import DR_GRADE
from retinai.tasks.task import Task

_LABELS = "messidor_data.csv"
_FOLDER = "IMAGES"
_GRADE, _DME, _GRADABLE = "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable"


class Messidor2Source(Source):
    """Messidor-2: the photographs of ADCIS in `IMAGES/`, and `messidor_data.csv` with the grades of three specialists.

    The photographs' owner gives no grades. Ungradable photographs have an empty grade; they are the `predict` split.
    File names are found whatever the case of their suffix, which the table and the folder write differently. Two
    photographs make an examination, and the table does not say which: without `pairs` both eyes of a person may come
    to different sides.

    Args:
        name: Name of the data set.
        root: The folder with `messidor_data.csv` and `IMAGES/`.
        pairs: A CSV file with the columns `left` and `right`: the two photographs of each examination.
        cache: The cache folder.

    Source: Decencière et al., Image Analysis & Stereology 2014; Krause et al., Ophthalmology 2018.
    """

    root_variable = "RETINAI_MESSIDOR2"
    task = DR_GRADE
    column_tasks: ClassVar[Mapping[str, Task]] = {"dme": BinaryTask("dme", ("no_dme", "dme"))}

    def __init__(
        self,
        name: str = "messidor2",
        root: str | None = None,
        pairs: str | None = None,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__(name, root, cache)
        self.pairs = None if pairs is None else Path(pairs).expanduser()

    def _labels(self) -> pd.DataFrame:
        file = self.root / _LABELS
        self.label_file = str(file)
        labels = read_labels(file, ["image_id", _GRADE, _DME, _GRADABLE])
        parse_flags(labels, [_GRADABLE], "image_id", file)
        return labels.assign(id=[without_suffix(name) for name in labels["image_id"]])

    def columns(self) -> pd.DataFrame:
        """Return whether there is macular oedema, and whether the photograph is gradable."""
        labels = self._labels()
        return pd.DataFrame({"dme": labels[_DME].tolist(), "gradable": labels[_GRADABLE].tolist()}, index=labels["id"])

    def read_table(self) -> pd.DataFrame:
        """Return the photographs; those that are not gradable are to be predicted."""
        labels = self._labels()
        gradable = (labels[_GRADABLE] == "1").to_numpy()
        file = self.root / _LABELS
        grades = iter(parse_grades(labels[gradable], _GRADE, "image_id", self.task, file))
        targets = [next(grades) if yes else None for yes in gradable]
        if not gradable.all():
            self.notes.append(f"{int((~gradable).sum())} photographs are not gradable; they are the predict split")
        eyes = self._eyes(set(labels["id"]))
        there = _files_by_name(self.root / _FOLDER)
        return pd.DataFrame(
            {
                "id": labels["id"],
                "path": [str(self.root / _FOLDER / there.get(n.lower(), n)) for n in labels["image_id"]],
                "target": as_targets(targets),
                "patient": [eyes.get(name, (name, ""))[0] for name in labels["id"]],
                "eye": [eyes.get(name, ("", ""))[1] for name in labels["id"]],
                "split": ["" if yes else "predict" for yes in gradable],
                "source": _LABELS,
                "row": labels["row"],
            }
        )

    def _eyes(self, known: set[str]) -> dict[str, tuple[str, str]]:
        """Return examination and eye of each photograph of the table of pairs."""
        if self.pairs is None:
            self.notes.append(
                "which photographs are of one person is not known, so both eyes may come to different sides; a CSV "
                "with the columns left and right says it: data.pairs="
            )
            return {}
        if not self.pairs.is_file():
            raise DataError(f"data.pairs={self.pairs} is no file; give a CSV file with the columns left and right")
        rows = read_labels(self.pairs, ["left", "right"])
        eyes: dict[str, tuple[str, str]] = {}
        for pair in rows[["left", "right"]].to_dict("records"):
            names = {eye: without_suffix(name) for eye, name in pair.items() if name}
            eyes |= {name: ("+".join(names.values()), str(eye)) for eye, name in names.items()}
        unknown = sorted(set(eyes) - known)
        if unknown:
            raise DataError(f"{self.pairs}: {len(unknown)} names are no photographs of {_LABELS}: {few(unknown)}")
        return eyes


class Messidor2DataModule(SourceDataModule):
    """Messidor-2 as a datamodule; options of `Messidor2Source`, `CurationSettings` and `LoadingSettings`."""

    source_class = Messidor2Source


def _files_by_name(folder: Path) -> dict[str, str]:
    """Return the files of a folder by their names in small letters; none where it cannot be listed."""
    try:
        return {file.name.lower(): file.name for file in sorted(folder.iterdir())}
    except OSError:
        return {}  # missing photographs are told by whoever looks for them
