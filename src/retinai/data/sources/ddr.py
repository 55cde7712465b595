"""DDR: 13,673 photographs of Chinese hospitals, graded or called ungradable, in three official parts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from retinai.data.datamodule import SourceDataModule
from retinai.data.sources.label_files import without_suffix
from retinai.data.sources.label_table import as_targets, few
from retinai.data.sources.source import Source
from retinai.errors import DataError
from retinai.files import MAX_TEXT_BYTES, UnreadableError, read_regular
from retinai.tasks.known import DR_GRADE

_PARTS = {"train": "train", "valid": "val", "test": "test"}
_GRADING = "DR_grading"
_UNGRADABLE = 5


class DdrSource(Source):
    """The grading part of DDR: `DR_grading/{train,valid,test}.txt`, each line a photograph and its class, and folders.

    Class 5 means that the owners could not grade the photograph; it is no grade beyond proliferative, so such
    photographs are left out, and it is said how many. Patients are not known.

    Args:
        name: Name of the data set.
        root: The folder with `DR_grading`, or that folder itself.
        cache: The cache folder.
    """

    root_variable = "RETINAI_DDR"
    task = DR_GRADE

    def __init__(self, name: str = "ddr", root: str | None = None, cache: str | Path | None = None) -> None:
        super().__init__(name, root, cache)

    def read_table(self) -> pd.DataFrame:
        """Return the gradable photographs of the three parts."""
        place = self.root / _GRADING
        place = place if place.is_dir() else self.root
        self.label_file = str(place / "train.txt")
        rows = [row for part in _PARTS for row in self._part(place, part)]
        kept = [row for row in rows if row[2] != _UNGRADABLE]
        if len(kept) < len(rows):
            self.notes.append(f"{len(rows) - len(kept)} photographs that the owners call ungradable are left out")
        table = pd.DataFrame(kept, columns=["id", "path", "target", "split", "source", "row"])
        return table.assign(target=as_targets(table["target"].tolist()), patient=table["id"], eye="")

    def _part(self, place: Path, part: str) -> list[tuple[str, str, int, str, str, int]]:
        """Return id, path, class, part, file and line of each photograph of a part."""
        file = place / f"{part}.txt"
        rows, wrong = [], []
        for number, line in enumerate(_lines(file), start=1):
            name, _, grade = line.strip().rpartition(" ")
            name = name.strip()
            if not name or grade not in {str(value) for value in range(_UNGRADABLE + 1)}:
                wrong += [f"line {number}: {line.strip()!r}"] if line.strip() else []
                continue
            rows.append((without_suffix(name), str(place / part / name), int(grade), _PARTS[part], file.name, number))
        if wrong:
            raise DataError(f"{file}: a line is a file name and a class from 0 to {_UNGRADABLE}; found {few(wrong)}")
        if not rows:
            raise DataError(f"the label file {file} names no photographs; fetch it again")
        return rows


class DdrDataModule(SourceDataModule):
    """DDR as a datamodule; options of `DdrSource`, `CurationSettings` and `LoadingSettings`."""

    source_class = DdrSource


def _lines(file: Path) -> list[str]:
    try:
        return read_regular(file, MAX_TEXT_BYTES).decode("utf-8-sig").splitlines()
    except UnreadableError as error:
        raise DataError(
            f"the label file {file} cannot be used: {error.reason}; data.root must be the folder of DDR that holds "
            f"{_GRADING}"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"the label file {file} is no UTF-8 text; fetch it again") from error
