"""Photographs in folders named after their classes, in folders of parts or not; or without classes at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from retinai.csv_cells import is_utf8, to_cell
from retinai.data.datamodule import SourceDataModule
from retinai.data.sources.label_table import as_targets, few
from retinai.data.sources.own_labels import LabelSettings, own_task
from retinai.data.sources.source import Source
from retinai.errors import ConfigError, DataError
from retinai.tasks.known import UNLABELLED
from retinai.tasks.task import Task

_PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
          "testing": "test"}  # fmt: skip
_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm")


class FolderSource(Source):
    """Photographs as `<root>/<part>/<class>/<file>` (as RETFound's users have them), or `<root>/<class>/<file>`.

    What is not in folders of parts is split here. With `kind=none` folders mean nothing but parts: every photograph
    below the root is taken, without a label.

    Args:
        name: Name of the data set.
        root: The folder.
        kind: See `LabelSettings`.
        classes: Names of the class folders in their order; None: by the alphabet, as torchvision's ImageFolder.
        referable_from: See `LabelSettings`.
        prevalence: See `LabelSettings`.
        patient_pattern: Regular expression on file names without suffix, whose first group is the patient, such as
            `(.+)_(left|right)`; a second group, or one named `eye`, is the eye. None: each photograph is a patient.
        cache: The cache folder.

    Raises:
        ConfigError: If the pattern is none.
        DataError: If there are no class folders.
    """

    def __init__(
        self,
        name: str = "folder",
        root: str | None = None,
        kind: str = "auto",
        classes: Sequence[str] | None = None,
        referable_from: int | None = None,
        prevalence: float | None = None,
        patient_pattern: str | None = None,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__(name, root, cache)
        try:
            self._pattern = None if patient_pattern is None else re.compile(patient_pattern)
        except re.error as error:
            raise ConfigError([f"data.patient_pattern={patient_pattern} is no regular expression: {error}"]) from error
        if self._pattern is not None and not self._pattern.groups:
            raise ConfigError([f"data.patient_pattern={patient_pattern} needs a group in brackets, the patient"])
        self.label_file = str(self.root)
        settings = LabelSettings(kind, classes, referable_from, prevalence)
        self._labelled = settings.labelled
        if settings.kind == "number":
            raise ConfigError(["data.kind=number is for data=table: folders are classes"])
        if not settings.labelled:
            self.task: Task = UNLABELLED
            return
        self._found = self._class_folders()
        names = sorted({folder.name for _, folder in self._found})
        self.task, target = own_task(name, names, settings, f"the folder {self.root}")
        self._target_of = dict(target)
        if classes is None:
            self.notes.append(
                f"classes by the names of the folders: {', '.join(self._target_of)}; data.classes=[...] gives another "
                "order"
            )

    def _class_folders(self) -> list[tuple[str, Path]]:
        """Return part and folder of each class; the part is empty where the folders are not divided."""
        first = _folders(self.root)
        parts = [folder for folder in first if folder.name.lower() in _PARTS]
        if not parts:
            found = [("", folder) for folder in first]
        else:
            other = [folder.name for folder in first if folder not in parts]
            if other:
                self.notes.append(f"folders beside those of the parts are not read: {few(other)}")
            found = [(_PARTS[part.name.lower()], folder) for part in parts for folder in _folders(part)]
        if not found:
            raise DataError(
                f"{self.root} holds no folders of classes; photographs are to lie in CLASS/ or in train/CLASS/, "
                "val/CLASS/ and test/CLASS/"
            )
        return found

    def read_table(self) -> pd.DataFrame:
        """Return the photographs of all class folders; ids are paths below the root without suffix."""
        found = self._of_classes() if self._labelled else self._of_all_folders()
        rows, strange = [], []
        for file, target, part, folder in found:
            if not is_utf8(file.name):
                strange.append(to_cell(str(file.relative_to(self.root))))
                continue
            name = file.relative_to(self.root).with_suffix("").as_posix()
            patient, eye = self._patient(file.stem, name)
            rows.append((name, str(file), target, patient, eye, part, folder))
        if strange:
            self.notes.append(f"{len(strange)} photographs left out, whose names are not UTF-8: {few(strange)}")
        if not rows:
            place = "the class folders of " if self._labelled else ""
            raise DataError(f"{place}{self.root} hold{'' if place else 's'} no photographs ({', '.join(_SUFFIXES)})")
        names = ["id", "path", "target", "patient", "eye", "split", "source"]
        table = pd.DataFrame(rows, columns=names)
        twice = [str(name) for name in table["id"][table["id"].duplicated()]]
        if twice:
            raise DataError(f"{self.root}: two files have one name but for their suffix: {few(twice)}; rename one")
        return table.assign(target=as_targets(table["target"].tolist()))

    def _of_classes(self) -> Iterator[tuple[Path, int, str, str]]:
        """Yield file, target, part and folder of each photograph in a class folder."""
        for part, folder in self._found:
            for file in _photographs(folder):
                yield file, self._target_of[folder.name], part, folder.name

    def _of_all_folders(self) -> Iterator[tuple[Path, int, str, str]]:
        """Yield the same for each photograph below the root, without labels; parts are folders of the root itself."""
        for folder, inner, _ in os.walk(self.root):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            first = Path(folder).relative_to(self.root).parts[:1]
            part = _PARTS.get(first[0].lower(), "") if first else ""
            for file in _photographs(Path(folder)):
                yield file, 0, part, Path(folder).name

    def _patient(self, stem: str, name: str) -> tuple[str, str]:
        match = None if self._pattern is None else self._pattern.search(stem)
        if match is None or not match[1]:
            return name, ""
        groups = match.groupdict()
        eye = groups.get("eye") or (match[2] if len(match.groups()) > 1 and "patient" not in groups else "") or ""
        side = {"left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right"}
        return groups.get("patient") or match[1], side.get(eye.lower(), "")


class FolderDataModule(SourceDataModule):
    """Folders of classes as a datamodule; options of `FolderSource`, `CurationSettings` and `LoadingSettings`."""

    source_class = FolderSource


def _folders(place: Path) -> list[Path]:
    return sorted(folder for folder in place.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _photographs(place: Path) -> list[Path]:
    names = sorted(file.name for file in place.iterdir())
    return [place / name for name in names if name.lower().endswith(_SUFFIXES) and not name.startswith(".")]
