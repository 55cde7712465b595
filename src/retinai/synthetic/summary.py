"""What a written cohort holds, read back from its own tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from retinai.synthetic.layout_graded import labels_of
from retinai.synthetic.layout_oculomics import TABLE
from retinai.tasks.known import DR_GRADE, ODIR_8, ODIR_COURSE

_ENTRY = {"aptos": "aptos", "idrid": "idrid", "odir": "odir", "odir_kaggle": "odir", "odir_course": "odir"}
_GRADED = ("eyepacs", "messidor2", "ddr", "brset")


def count_labels(out: Path, layout: str) -> list[tuple[str, int]]:
    """Return each label and its number of rows in the cohort's own tables.

    For `odir` the labels are those of patients, as the owner gives them; otherwise of photographs.

    Args:
        out: Folder of the cohort.
        layout: Layout that it was written in.
    """
    import pandas as pd

    if layout == "aptos":
        return _grades(pd.read_csv(out / "train.csv")["diagnosis"].tolist())
    if layout == "idrid":
        files = sorted((out / "B. Disease Grading" / "2. Groundtruths").glob("*.csv"))
        return _grades([int(g) for file in files for g in pd.read_csv(file)["Retinopathy grade"]])
    if layout == "oculomics":
        outcomes = Counter(pd.read_csv(out / TABLE)["target"].tolist())
        return [("without the outcome", outcomes[0]), ("with the outcome", outcomes[1])]
    if layout in _GRADED:
        return _grades(labels_of(out, layout))
    if layout == "odir_course":
        names = ("train.csv", "val.csv", "offsite_test.csv")
        table, classes = pd.concat([pd.read_csv(out / name) for name in names]), ODIR_COURSE.classes
    elif layout == "odir_kaggle":
        table, classes = pd.read_csv(out / "full_df.csv"), ODIR_8.classes
    else:
        table, classes = pd.read_excel(next(out.glob("*.xlsx"))), ODIR_8.classes
    return [(name, int(table[name].sum())) for name in classes]


def next_command(out: Path, layout: str) -> str:
    """Return the command that trains on the cohort."""
    import shlex

    if layout == "oculomics":
        return f"python train.py data=table {shlex.quote(f'data.file={out / TABLE}')}"
    entry = _ENTRY.get(layout, layout)
    loss = " loss=bce" if entry == "odir" else ""
    return f"python train.py data={entry} {shlex.quote(f'data.root={out}')}{loss}"


def _grades(values: list[int]) -> list[tuple[str, int]]:
    counts = Counter(values)
    return [(f"{grade} {name}", counts[grade]) for grade, name in enumerate(DR_GRADE.classes)]
