"""Which photographs are meant, and the layouts of the file that is wanted back."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from retinai.data.task import Task
from retinai.errors import UserError
from retinai.metrics.predictions import THRESHOLD

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".gif")
LAYOUTS = ("auto", "retinai", "kaggle", "course", "odir")
_KAGGLE_ID = "id_code"


@dataclass(frozen=True)
class Photographs:
    """Photographs to predict, in the order of the rows.

    Args:
        ids: A name each: the file's without its suffix, with its folder where two files share one.
        paths: The files.
        from_kaggle: Whether they are the unlabelled test photographs of APTOS.
    """

    ids: list[str]
    paths: list[str]
    from_kaggle: bool = False


def find_photographs(images: str) -> Photographs:
    """Find the photographs of a folder (with its subfolders), a pattern, or a single file.

    A folder with a `test.csv` (`id_code`) beside it is APTOS's test set: its ids are taken in the
    order of that file, so that a photograph that is missing gets its row too.

    Args:
        images: Folder, pattern or file.

    Raises:
        UserError: If nothing is found.
    """
    place = Path(images).expanduser()
    if place.is_dir():
        listed = _kaggle_list(place)
        if listed is not None:
            return listed
        found = sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise UserError(f"images={images}: the folder holds no photographs ({', '.join(SUFFIXES)})")
    elif place.is_file():
        found = [place]
    else:
        found = sorted(p for p in map(Path, glob.glob(str(place), recursive=True)) if p.is_file())  # noqa: PTH207
        if not found:
            raise UserError(f"images={images}: no such folder or file, and no file matches it as a pattern")
    return name_photographs(found)


def name_photographs(paths: Sequence[Path]) -> Photographs:
    """Return files, in the order given, with a name each."""
    return Photographs(_names(paths), [str(path) for path in paths])


def _kaggle_list(folder: Path) -> Photographs | None:
    labels = folder.parent / "test.csv"
    if folder.name != "test_images" or not labels.is_file():
        return None
    table = pd.read_csv(labels, dtype=str)
    if _KAGGLE_ID not in table:
        return None
    ids = table[_KAGGLE_ID].astype(str).tolist()
    return Photographs(ids, [str(folder / f"{name}.png") for name in ids], from_kaggle=True)


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the files' names without suffix; with folder and suffix for those that would be the same."""
    stems = pd.Series([path.stem for path in paths])
    shared = stems.duplicated(keep=False)
    return [path.as_posix() if same else stem for path, stem, same in zip(paths, stems, shared, strict=True)]


def choose_layout(wanted: str, task: Task, photographs: Photographs) -> str:
    """Return the layout of the output file.

    Args:
        wanted: One of LAYOUTS; `auto` decides by images and task.
        task: Of the model.
        photographs: What is predicted.

    Raises:
        UserError: If the layout is unknown or does not fit the task.
    """
    if wanted not in LAYOUTS:
        raise UserError(f"format={wanted} is unknown (valid: {', '.join(LAYOUTS)})")
    graded = task.kind == "grade"
    if wanted == "auto":
        if photographs.from_kaggle and task.name == "dr_grade":
            return "kaggle"
        return "course" if task.name == "odir_course" else "retinai"
    if (wanted == "kaggle") != graded and wanted != "retinai":
        kind = "one grade" if graded else "several labels"
        raise UserError(f"format={wanted} does not fit a model of task {task.name}, which gives {kind} a photograph")
    return wanted


def write_layout(layout: str, table: pd.DataFrame, task: Task, photographs: Photographs) -> pd.DataFrame:
    """Turn the table of `predict_files` into a layout.

    `kaggle`: `id_code,diagnosis`. `course`: `id` (file name) and 0 or 1 per class. `odir`: `ID` (the
    patient: the file name up to its last underscore) and a probability per class, the higher of the
    patient's two eyes, since a patient has a disease when one eye has it (for N, normal, the lower).

    Args:
        layout: `retinai`, `kaggle`, `course` or `odir`.
        table: Of `predict_files`.
        task: Of the model.
        photographs: What was predicted.
    """
    if layout == "retinai":
        return table
    if layout == "kaggle":
        return pd.DataFrame({_KAGGLE_ID: table["id"], "diagnosis": table["prediction"].astype("Int64")})
    names = [Path(path).name for path in photographs.paths]
    columns = {name: table[f"p_{name}"] for name in task.classes}
    if layout == "course":
        flags = {name: (p > THRESHOLD).astype("Int64").mask(p.isna()) for name, p in columns.items()}
        return pd.DataFrame({"id": names, **flags})
    patients = [Path(name).stem.rpartition("_")[0] or Path(name).stem for name in names]
    eyes = pd.DataFrame({"ID": patients, **columns})
    rule = {name: "min" if name == "N" else "max" for name in task.classes}
    return eyes.groupby("ID", sort=False).agg(rule).reset_index()
