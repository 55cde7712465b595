"""IDRiD: 516 photographs with grades of retinopathy and risk of macular oedema, 81 with lesion masks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from retinai.data.datamodule import SourceDataModule
from retinai.data.sources.label_files import parse_grades, read_labels
from retinai.data.sources.label_table import as_targets
from retinai.data.sources.source import Source
from retinai.errors import ConfigError, DataError
from retinai.tasks.known import DME_RISK, DR_GRADE, GRADE_AND_DME, IDRID_LABELS
from retinai.tasks.task import Task

_TARGETS = {"grade": ("Retinopathy grade", DR_GRADE), "dme": ("Risk of macular edema", DME_RISK)}
# Targets that are made of both grades.
_OF_BOTH = {"joint": GRADE_AND_DME, "labels": IDRID_LABELS}
_REFERABLE = DR_GRADE.referable_from or 0
_FOLDERS = {"train": "a. Training Set", "test": "b. Testing Set"}
_LABELS = {
    "train": "a. IDRiD_Disease Grading_Training Labels.csv",
    "test": "b. IDRiD_Disease Grading_Testing Labels.csv",
}
LESIONS = {
    "microaneurysms": ("1. Microaneurysms", "MA"),
    "haemorrhages": ("2. Haemorrhages", "HE"),
    "hard_exudates": ("3. Hard Exudates", "EX"),
    "soft_exudates": ("4. Soft Exudates", "SE"),
    "optic_disc": ("5. Optic Disc", "OD"),
}


class IdridSource(Source):
    """Part B (disease grading) of IDRiD, in the owners' folders and with their official test part; masks of part A.

    Both parts number their photographs from 001, so ids carry the part: `train_IDRiD_001`. Validation
    is cut from the training part. With `folds`, the folds are those of the training part and the
    official test photographs stay out. Patients are not known.

    Args:
        name: Name of the data set.
        target: `grade` (retinopathy, 0 to 4), `dme` (risk of macular oedema, 0 to 2), or `joint` (both), or
            `labels`: any retinopathy (grade 1 or more), referable (2 or more), high risk of macular oedema (2).
        root: The folder with `B. Disease Grading`.
        cache: The cache folder.
    """

    root_variable = "RETINAI_IDRID"
    column_tasks: ClassVar[Mapping[str, Task]] = {name: task for name, (_, task) in _TARGETS.items()}

    def __init__(
        self,
        name: str = "idrid",
        target: str = "grade",
        root: str | None = None,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__(name, root, cache)
        valid = (*_TARGETS, *_OF_BOTH)
        if target not in valid:
            raise ConfigError([f"data.target={target!r} is unknown for IDRiD (valid: {', '.join(valid)})"])
        self._asked = [*_TARGETS] if target in _OF_BOTH else [target]
        self.task: Task = _OF_BOTH[target] if target in _OF_BOTH else _TARGETS[target][1]
        self._masks: dict[str, dict[str, str]] | None = None

    def annotations(self) -> dict[str, dict[str, str]]:
        """Return the masks of part A for the graded photographs of part B that are the same."""
        if self._masks is None:
            self._masks = graded_masks(self.root, self.cache_dir)
        return self._masks

    def columns(self) -> pd.DataFrame:
        """Return both targets of every photograph."""
        parts: list[pd.DataFrame] = []
        for split in _FOLDERS:
            file = self.root / "B. Disease Grading" / "2. Groundtruths" / _LABELS[split]
            labels = read_labels(file, ["Image name", *(column for column, _ in _TARGETS.values())])
            ids = pd.Index([f"{split}_{name}" for name in labels["Image name"]])
            parts.append(pd.DataFrame({name: labels[c].tolist() for name, (c, _) in _TARGETS.items()}, index=ids))
        return pd.concat(parts)

    def read_table(self) -> pd.DataFrame:
        """Return both parts of the disease grading."""
        part = self.root / "B. Disease Grading"
        if not part.is_dir():
            raise DataError(
                f"{self.root} has no folder 'B. Disease Grading'; data.root must be the folder of IDRiD that holds it"
            )
        self.label_file = str(part / "2. Groundtruths")
        return pd.concat([self._part(part, split) for split in _FOLDERS], ignore_index=True)

    def _part(self, part: Path, split: str) -> pd.DataFrame:
        file = part / "2. Groundtruths" / _LABELS[split]
        labels = read_labels(file, ["Image name", *(_TARGETS[name][0] for name in self._asked)])
        folder = part / "1. Original Images" / _FOLDERS[split]
        ids = [f"{split}_{name}" for name in labels["Image name"]]
        return pd.DataFrame(
            {
                "id": ids,
                "path": [str(folder / f"{name}.jpg") for name in labels["Image name"]],
                "target": as_targets(self._targets(labels, file)),
                "patient": ids,
                "eye": "",
                "split": split,
                "source": file.name,
                "row": labels["row"],
            }
        )

    def _targets(self, labels: pd.DataFrame, file: Path) -> list[Any]:
        """Return the grades, the numbers of pairs of grades, or three labels made of them."""
        asked = [_TARGETS[name] for name in self._asked]
        grades = [parse_grades(labels, column, "Image name", task, file) for column, task in asked]
        if len(grades) == 1:
            return grades[0]
        if self.task == IDRID_LABELS:
            worst = DME_RISK.num_classes - 1
            return [
                (int(grade >= 1), int(grade >= _REFERABLE), int(dme == worst))
                for grade, dme in zip(*grades, strict=True)
            ]
        return [first * DME_RISK.num_classes + second for first, second in zip(*grades, strict=True)]


class IdridDataModule(SourceDataModule):
    """IDRiD as a datamodule; options of `IdridSource`, `CurationSettings` and `LoadingSettings`."""

    source_class = IdridSource


def lesion_mask_files(root: str | Path) -> pd.DataFrame:
    """List the lesion masks of part A (segmentation).

    Args:
        root: The folder of IDRiD.

    Returns:
        One row per photograph of part A: `id` (`seg_train_IDRiD_01`), `path`, `split` (train, test), and
        a column per lesion of LESIONS with the mask's path, "" where the photograph has none.

    Raises:
        DataError: If there is no part A.
    """
    part = Path(root).absolute() / "A. Segmentation"
    rows = []
    for split, folder in _FOLDERS.items():
        masks = part / "2. All Segmentation Groundtruths" / folder
        for path in sorted((part / "1. Original Images" / folder).glob("*.jpg")):
            row = {"id": f"seg_{split}_{path.stem}", "path": str(path), "split": split}
            for lesion, (lesion_folder, suffix) in LESIONS.items():
                mask = masks / lesion_folder / f"{path.stem}_{suffix}.tif"
                # A name that stands for something else than a file is damage, to be refused, and no lesion's absence.
                row[lesion] = str(mask) if mask.exists() or mask.is_symlink() else ""
            rows.append(row)
    if not rows:
        raise DataError(f"{part} holds no photographs; the lesion masks need 'A. Segmentation' of IDRiD; fetch it too")
    return pd.DataFrame(rows)


def graded_masks(root: str | Path, cache: str | Path) -> dict[str, dict[str, str]]:
    """Return the lesion masks of the graded photographs: {id in part B: {lesion: path}}."""
    files = lesion_mask_files(root).set_index("id")
    masks: dict[str, dict[str, str]] = {}
    for segmentation, grading in match_parts(root, cache).itertuples(index=False):
        masks[grading] = {
            lesion: files.loc[segmentation, lesion] for lesion in LESIONS if files.loc[segmentation, lesion]
        }
    return masks


def match_parts(root: str | Path, cache: str | Path) -> pd.DataFrame:
    """Match the photographs of part A (segmentation) to those of part B (grading) by their content.

    Most photographs of A occur in B under another number, some on the other side of the official split.

    Args:
        root: The folder of IDRiD.
        cache: Folder for file fingerprints.

    Returns:
        Columns `segmentation` (id in A), `grading` (id in B), one row per pair.
    """
    from retinai.data.curation.duplicates import find_duplicates
    from retinai.data.curation.file_index import FileIndex

    segmentation = lesion_mask_files(root)
    id_of = dict(zip(segmentation["path"], segmentation["id"], strict=True))
    for split, folder in _FOLDERS.items():
        images = Path(root).absolute() / "B. Disease Grading" / "1. Original Images" / folder
        id_of |= {str(path): f"{split}_{path.stem}" for path in sorted(images.glob("*.jpg"))}
    groups = find_duplicates(FileIndex(Path(cache)).scan(list(id_of)), near=True)
    pairs = []
    for group in groups:
        names = [id_of[path] for path in group.paths]
        pairs += [
            {"segmentation": a, "grading": b}
            for a in names
            for b in names
            if re.match("seg_", a) and not re.match("seg_", b)
        ]
    return pd.DataFrame(pairs, columns=["segmentation", "grading"])
