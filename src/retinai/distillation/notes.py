"""What a user should know of the teachers of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retinai.data.curation.known_split import KnownSplit

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule
    from retinai.distillation.teacher import Teachers
    from retinai.modules.classifier import Classifier


def teacher_notes(teachers: Teachers, datamodule: FundusDataModule) -> list[str]:
    """Return what a user should know of the teachers: who they are, and whether they have seen the exam.

    A teacher that was trained or chosen on photographs of the student's test part knows their answers, and what
    it knows reaches the student; so folds are taught by teachers of the same fold.

    Args:
        teachers: Loaded.
        datamodule: The student's data, set up.
    """
    notes = [f"teacher: {path} ({record})" for path, record in zip(teachers.paths, teachers.words(), strict=True)]
    tested = {split: set(datamodule.table.loc[datamodule.table["split"] == split, "id"]) for split in ("test", "val")}
    for path, module in zip(teachers.paths, teachers.modules, strict=True):
        seen = _seen_in_training(Path(path), module, datamodule)
        for split, ids in tested.items():
            if ids & seen["train"] or (split == "test" and ids & seen["val"]):
                known = len(ids & (seen["train"] | seen["val"]))
                notes.append(
                    f"teacher {path} was trained or chosen on {known} of the {len(ids)} photographs of the {split} "
                    "split, so results on it are too kind; teach with a teacher of the same split (data.fold, seed)"
                )
    return notes


def _seen_in_training(checkpoint: Path, module: Classifier, datamodule: FundusDataModule) -> dict[str, set[str]]:
    """Return the photographs of this data set that a teacher was trained and chosen on, as far as it is known."""
    file = checkpoint.parent.parent / "split.csv"
    seen: dict[str, set[str]] = {"train": set(), "val": set()}
    if module.data_config.get("name") != datamodule.name or (module.split is None and not file.is_file()):
        return seen
    known = KnownSplit.of_file(file) if module.split is None else KnownSplit.from_dict(module.split)
    for name in datamodule.table["id"]:
        part = known.part_of(name)
        if part in seen:
            seen[part].add(name)
    return seen
