"""Split files: a run's split as CSV, written beside the run and accepted back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from retinai.csv_cells import from_cell
from retinai.data.curation.extra_train import EXTRA_ID
from retinai.data.curation.splits import LEFT_OUT
from retinai.data.sources.label_files import read_labels
from retinai.data.sources.label_table import SPLITS, few
from retinai.errors import DataError, DataFileError
from retinai.files import write_csv
from retinai.tasks.task import Task


def write_splits(path: str | Path, table: pd.DataFrame, task: Task) -> None:
    """Write `id,split,target,patient,eye,source,note` to CSV; multilabel targets as names joined by "|"."""
    out = table.reindex(columns=["id", "split", "target", "patient", "eye", "source", "note"])
    out["target"] = [task.csv_label(target) for target in table["target"]]
    write_csv(path, out)


def read_rows(path: str | Path) -> pd.DataFrame:
    """Return the rows of a split file as text, with the texts that `write_splits` was given, and their `row`.

    Raises:
        DataError: As `read_labels`.
    """
    try:
        found = read_labels(Path(path), ["id", "split"], called="split file")
    except DataFileError as error:
        raise DataError(f"{error.what}; check data.split_file") from error
    for column in found.columns.drop("row"):
        found[column] = pd.Series([from_cell(cell) for cell in found[column]], index=found.index, dtype=object)
    return found


def read_splits(path: str | Path, table: pd.DataFrame, task: Task) -> list[str]:
    """Read the split of each row of `table` from a file of `write_splits`.

    Returns:
        One of SPLITS or LEFT_OUT per row.

    Raises:
        DataError: If ids are unknown, missing or twice, a split name is wrong, a target is another one, or
            labels are missing where they are needed or stand where they are not.
    """
    path = Path(path)
    found = read_rows(path)
    wrong = found[~found["split"].isin([*SPLITS, LEFT_OUT])]
    if len(wrong):
        rows = [f"row {r} ({i}): {s!r}" for r, i, s in wrong[["row", "id", "split"]].itertuples(index=False)]
        raise DataError(f"{path}: split must be one of {', '.join([*SPLITS, LEFT_OUT])}; found {few(rows)}")
    twice = found.loc[found["id"].duplicated(), "id"].tolist()
    if twice:
        raise DataError(f"{path}: an id may stand there once only; twice: {few(twice)}")
    known = set(table["id"])
    found = found[~found["id"].str.startswith(EXTRA_ID)]  # made-up photographs come by data.extra_train alone
    unknown = [i for i in found["id"] if i not in known]
    if unknown:
        raise DataError(f"{path}: {len(unknown)} ids are not in this data set: {few(unknown)}; check data.split_file")
    by_id = dict(zip(found["id"], found["split"], strict=True))
    missing = [i for i in table["id"] if i not in by_id]
    if missing:
        raise DataError(f"{path}: {len(missing)} ids of the data set are missing: {few(missing)}; give each a split")
    _check_labels(path, table, by_id)
    if "target" in found.columns:
        _check_same_targets(path, table, dict(zip(found["id"], found["target"], strict=True)), task)
    return [by_id[i] for i in table["id"]]


def _check_labels(path: Path, table: pd.DataFrame, by_id: dict[str, str]) -> None:
    """Refuse photographs without a label in parts that need one, and labelled ones where none is looked at."""
    rows = [(i, by_id[i], target is None) for i, target in zip(table["id"], table["target"], strict=True)]
    bare = [f"{i} ({part})" for i, part, unlabelled in rows if unlabelled and part not in ("predict", LEFT_OUT)]
    if bare:
        raise DataError(
            f"{path}: {len(bare)} photographs without a label stand in a part that needs one: {few(bare)}; "
            f"give them split predict or {LEFT_OUT}"
        )
    labelled = [i for i, part, unlabelled in rows if part == "predict" and not unlabelled]
    if labelled:
        raise DataError(
            f"{path}: {len(labelled)} labelled photographs stand in predict, which is for those without a label: "
            f"{few(labelled)}; give them split train, val, test or {LEFT_OUT}"
        )


def _check_same_targets(path: Path, table: pd.DataFrame, written: dict[str, str], task: Task) -> None:
    differing = [
        f"{i} ({written[i]!r} there, {now!r} in the labels)"
        for i, target in zip(table["id"], table["target"], strict=True)
        if (now := task.csv_label(target)) != written[i]
    ]
    if differing:
        raise DataError(
            f"{path}: {len(differing)} targets differ from the label files: {few(differing, 3)}; "
            "the file was written for other labels (check data.target), or drop its target column"
        )
