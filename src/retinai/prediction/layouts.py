"""The layouts of the file that is wanted back: our own table, and the submissions of competitions and courses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from retinai.errors import UserError
from retinai.files import read_csv
from retinai.prediction.photographs import KAGGLE_ID, Photographs, check_names
from retinai.tasks.task import Task

# The course's unlabelled photographs, and the list of those that it wants back, two folders above them.
_COURSE_FOLDER = ("images", "onsite_test")
_COURSE_TEMPLATE = "onsite_test_submission.csv"
LAYOUTS = ("auto", "retinai", "kaggle", "course", "odir")


def choose_layout(wanted: str, task: Task, photographs: Photographs) -> str:
    """Return the layout of the output file.

    Args:
        wanted: One of LAYOUTS; `auto` decides by images and task.
        task: Of the model.
        photographs: What is predicted.

    Raises:
        UserError: If the layout is unknown or does not fit the task, or the course's list of photographs names some
            that are not among these.
    """
    if wanted not in LAYOUTS:
        raise UserError(f"format={wanted} is unknown (valid: {', '.join(LAYOUTS)})")
    if wanted == "auto":
        wanted = "course" if task.name == "odir_course" else "retinai"
        if photographs.from_kaggle and task.name == "dr_grade":
            wanted = "kaggle"
    if wanted == "course":
        _course_order(photographs)  # refused before anything is graded
    if wanted not in ("retinai", *task.submissions):
        raise UserError(
            f"format={wanted} does not fit a model of task {task.name}, which gives a photograph {task.answer}"
        )
    return wanted


def write_layout(layout: str, table: pd.DataFrame, task: Task, photographs: Photographs) -> pd.DataFrame:
    """Turn the table of `predict_files` into a layout.

    `kaggle`: `id_code,diagnosis`. `course`: `id` (file name) and 0 or 1 per class; of the photographs of the
    course's `images/onsite_test` the rows of `onsite_test_submission.csv`, in its order. `odir`: `ID` (the
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
        return pd.DataFrame({KAGGLE_ID: table["id"], "diagnosis": table["prediction"].astype("Int64")})
    names = pd.Series([Path(path).name for path in photographs.paths], dtype=object)
    columns = {name: table[f"p_{name}"] for name in task.classes}
    if layout == "course":
        known = table["prediction"].notna()
        decided = task.read_csv_labels(table["prediction"])
        flags = {name: pd.Series(decided[:, i], dtype="Int64").where(known) for i, name in enumerate(task.classes)}
        return pd.DataFrame({"id": names, **flags}).iloc[_course_order(photographs)].reset_index(drop=True)
    return _join_eyes(names, columns)


def _join_eyes(names: pd.Series, columns: Mapping[str, pd.Series]) -> pd.DataFrame:
    patients = [Path(name).stem.rpartition("_")[0] or Path(name).stem for name in names]
    eyes = pd.DataFrame({"ID": pd.Series(patients, dtype=object), **columns})
    rule = {name: "min" if name == "N" else "max" for name in columns}
    return eyes.groupby("ID", sort=False).agg(rule).reset_index()


def _course_order(photographs: Photographs) -> list[int]:
    """Return the rows of a submission to the course as numbers of photographs, those of its list in its order.

    Raises:
        UserError: If the list names photographs that are not among these, or cannot be used.
    """
    places = {Path(path).parent for path in map(os.path.abspath, photographs.paths)}
    lists = [p.parent.parent / _COURSE_TEMPLATE for p in sorted(places) if p.parts[-2:] == _COURSE_FOLDER]
    lists = [path for path in lists if path.exists()]
    if len(lists) != 1:
        return list(range(len(photographs.paths)))
    table = read_csv(lists[0], escaped=False)
    if "id" not in table:
        raise UserError(f"{lists[0]}: column 'id' is missing; found: {', '.join(table.columns)}")
    wanted = table["id"].tolist()
    check_names(wanted, lists[0])
    numbers = {Path(path).name: number for number, path in enumerate(photographs.paths)}
    missing = [name for name in wanted if name not in numbers]
    if missing:
        raise UserError(
            f"{lists[0]} wants {len(wanted)} photographs, of which {len(missing)} are not given: "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}; "
            "give images= the whole folder, or format=retinai for a table of some"
        )
    return [numbers[name] for name in wanted]
