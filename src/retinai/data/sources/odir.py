"""ODIR-5K: photographs of both eyes, eight labels at once, in the layouts that are about."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from retinai.csv_cells import is_utf8, to_cell
from retinai.data.datamodule import SourceDataModule
from retinai.data.sources.label_files import parse_flags, read_labels
from retinai.data.sources.label_table import as_targets, few
from retinai.data.sources.odir_keywords import decode_eyes
from retinai.data.sources.source import Source
from retinai.errors import ConfigError, DataError
from retinai.tasks.known import ODIR_8, ODIR_COURSE

_LAYOUTS = ("auto", "official", "kaggle", "course")
_SHEETS = ("ODIR-5K_Training_Annotations*.xlsx", "data.xlsx")
_TRAINING = ("ODIR-5K_Training_Dataset", "ODIR-5K_Training_Images", "Training Images", "preprocessed_images")
_TESTING = ("ODIR-5K_Testing_Dataset", "ODIR-5K_Testing_Images", "Testing Images")
_COURSE = {
    "train": ("train.csv", "train"),
    "val": ("val.csv", "val"),
    "test": ("offsite_test.csv", "offsite_test"),
    "predict": ("onsite_test_submission.csv", "onsite_test"),
}
_EYES = ("left", "right")
_COLUMNS = {"age": "Patient Age", "sex": "Patient Sex"}
_DEPTHS = ("", "*/", "*/*/")  # copies keep the workbook and the photographs up to two folders down


class OdirSource(Source):
    """ODIR-5K, one row per eye: its own keywords decide its labels, and a patient stays on one side.

    Args:
        name: Name of the data set.
        layout: `official` (the annotations xlsx), `kaggle` (`full_df.csv`), `course` (`id,D,G,A` with
            published parts), or `auto`: the first that is there, in the order course, kaggle, official.
        split: For the course layout, `published` keeps its parts, which share patients, and `patient`
            splits anew with each patient on one side.
        unknown_keywords: `error` refuses keywords that are not understood; `skip` leaves those eyes out.
        root: The folder of the data set.
        cache: The cache folder.
    """

    root_variable = "RETINAI_ODIR"
    task = ODIR_8

    def __init__(
        self,
        name: str = "odir",
        layout: str = "auto",
        split: str = "published",
        unknown_keywords: str = "error",
        root: str | None = None,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__(name, root, cache)
        choices = {"layout": _LAYOUTS, "split": ("published", "patient"), "unknown_keywords": ("error", "skip")}
        given = {"layout": layout, "split": split, "unknown_keywords": unknown_keywords}
        problems = [
            f"data.{key}={given[key]!r} is unknown for ODIR (valid: {', '.join(valid)})"
            for key, valid in choices.items()
            if given[key] not in valid
        ]
        if problems:
            raise ConfigError(problems)
        self.layout = self._detect() if layout == "auto" and root else layout
        self.split = split
        self.unknown_keywords = unknown_keywords
        self.task = ODIR_COURSE if self.layout == "course" else ODIR_8

    def _detect(self) -> str:
        if (self.root / "train.csv").is_file():
            return "course"
        return "kaggle" if (self.root / "full_df.csv").is_file() else "official"

    def _sheet(self) -> Path | None:
        found = (path for name in _SHEETS for depth in _DEPTHS for path in sorted(self.root.glob(depth + name)))
        return next(found, None)

    def read_table(self) -> pd.DataFrame:
        """Return one row per eye."""
        if self.layout == "course":
            return self._read_course()
        eyes = self._kaggle_eyes() if self.layout == "kaggle" else self._official_eyes()
        file = Path(self.label_file)
        flags = parse_flags(eyes, ODIR_8.classes, "ID", file)
        eyes["target"] = as_targets(decode_eyes(eyes, flags, file, self.unknown_keywords, self.notes))
        eyes = eyes[eyes["target"].notna()]
        table = self._rows(eyes, self._folder(_TRAINING, eyes["file"]), file.name)
        return pd.concat([table, self._unlabelled(set(table["id"]))], ignore_index=True)

    def columns(self) -> pd.DataFrame:
        """Return `age` (years) and `sex` of the patient, where the table tells them; the course's tables do not."""
        if self.layout == "course":
            return pd.DataFrame()
        eyes = self._kaggle_eyes() if self.layout == "kaggle" else self._official_eyes()
        ids = pd.Index(eyes["file"].str.rsplit(".", n=1).str[0])
        there = {name: column for name, column in _COLUMNS.items() if column in eyes}
        columns = pd.DataFrame({name: eyes[column].tolist() for name, column in there.items()}, index=ids, dtype=object)
        return columns[~columns.index.duplicated()]

    def _official_eyes(self) -> pd.DataFrame:
        sheet = self._sheet()
        if sheet is None:
            raise DataError(f"{self.root} holds no {_SHEETS[0]}; check data.root and data.layout")
        self.label_file = str(sheet)
        both = [f"{e.title()}-{column}" for e in _EYES for column in ("Fundus", "Diagnostic Keywords")]
        labels = read_labels(sheet, ["ID", *both, *ODIR_8.classes])
        eyes = [
            labels.assign(eye=e, file=labels[f"{e.title()}-Fundus"], words=labels[f"{e.title()}-Diagnostic Keywords"])
            for e in _EYES
        ]
        return pd.concat(eyes).sort_values("row", kind="stable").reset_index(drop=True)

    def _kaggle_eyes(self) -> pd.DataFrame:
        file = self.root / "full_df.csv"
        self.label_file = str(file)
        columns = [f"{e.title()}-Diagnostic Keywords" for e in _EYES]
        labels = read_labels(file, ["ID", "filename", *columns, *ODIR_8.classes])
        eye = labels["filename"].str.extract(r"_(left|right)\.", expand=False)
        if eye.isna().any():
            raise DataError(
                f"{file}: filename must end in _left or _right: {few(labels['filename'][eye.isna()].tolist())}"
            )
        # Its label column per eye was decoded by others, who lost misspelt keywords; ours comes from the keywords.
        words = labels[columns[0]].where(eye == "left", labels[columns[1]])
        return labels.assign(eye=eye, file=labels["filename"], words=words)

    def _read_course(self) -> pd.DataFrame:
        self.label_file = str(self.root / "train.csv")
        parts = [
            self._course_part(self.root / file, self.root / "images" / folder, split)
            for split, (file, folder) in _COURSE.items()
            if split == "train" or os.path.lexists(self.root / file)
        ]
        return pd.concat(parts, ignore_index=True)

    def _course_part(self, file: Path, folder: Path, split: str) -> pd.DataFrame:
        classes = [] if split == "predict" else list(self.task.classes)
        labels = read_labels(file, ["id", *classes])
        targets = parse_flags(labels, classes, "id", file) if classes else [None] * len(labels)
        stem = labels["id"].str.rsplit(".", n=1).str[0]
        eye = stem.str.extract(r"_(left|right)$", expand=False).fillna("")
        labels = labels.assign(file=labels["id"], ID=stem.str.split("_").str[0], eye=eye, target=as_targets(targets))
        kept = split if self.split == "published" or split == "predict" else ""
        # Ids are file names here, as the course's submission file wants them.
        return self._rows(labels, folder, file.name, split=kept).assign(id=labels["id"])

    def _rows(self, eyes: pd.DataFrame, folder: Path, source: str, split: str = "") -> pd.DataFrame:
        return pd.DataFrame(
            {
                "id": eyes["file"].str.rsplit(".", n=1).str[0],
                "path": [str(folder / name) for name in eyes["file"]],
                "target": eyes["target"],
                # Excel gives an ID as text or as a number.
                "patient": eyes["ID"].str.removesuffix(".0"),
                "eye": eyes["eye"],
                "split": split,
                "source": source,
                "row": eyes["row"],
            }
        )

    def _unlabelled(self, taken: set[str]) -> pd.DataFrame:
        """Return the challenge's test photographs, which have no labels, where they are there."""
        folder = self._folder(_TESTING)
        found = sorted(path.name for path in folder.glob("*_*.jpg")) if folder.is_dir() else []
        names = [name for name in found if is_utf8(name)]
        if strange := [to_cell(name) for name in found if not is_utf8(name)]:
            self.notes.append(f"{len(strange)} photographs left out, whose names are not UTF-8: {few(strange)}")
        if not names:
            return pd.DataFrame()
        stems = [name.rsplit(".", 1)[0] for name in names]
        eyes = pd.DataFrame(
            {
                "file": pd.Series(names, dtype=object),
                "ID": [stem.split("_")[0] for stem in stems],
                "eye": [stem.rsplit("_", 1)[1] if stem.endswith(_EYES) else "" for stem in stems],
                "target": as_targets([None] * len(names)),
                "row": 0,
            }
        )
        rows = self._rows(eyes, folder, folder.name, split="predict")
        # A patient of this part has nothing to do with one of the same number in training.
        rows["id"] = [f"testing_{i}" if i in taken else i for i in rows["id"]]
        return rows.assign(patient="testing_" + rows["patient"])

    def _folder(self, names: Sequence[str], files: pd.Series | None = None) -> Path:
        """Return the folder of one of these names, the one that holds the first file where files are known."""
        found = [p for name in names for depth in _DEPTHS for p in sorted(self.root.glob(depth + name)) if p.is_dir()]
        if files is not None:
            some = files.tolist()[:20]
            # Not Path.is_file, which raises where a name is too long.
            found = [p for p in found if any(os.path.isfile(p / name) for name in some)]  # noqa: PTH113
        return found[0] if found else self.root / names[0]


class OdirDataModule(SourceDataModule):
    """ODIR-5K as a datamodule; options of `OdirSource`, `CurationSettings` and `LoadingSettings`."""

    source_class = OdirSource
