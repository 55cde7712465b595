"""Splits: stratified, seeded, with patients and near-duplicates on one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold, MultilabelStratifiedShuffleSplit
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from retinai.data.sources.label_table import SPLITS
from retinai.errors import DataError
from retinai.tasks.task import Task

LEFT_OUT = "left_out"
# A split that stands earlier keeps a photograph that occurs in several.
_PRECEDENCE = {"test": 0, "val": 1, "train": 2}


def link_groups(table: pd.DataFrame, duplicates: Sequence[Sequence[str]] = ()) -> np.ndarray:
    """Return a group number per row: rows of one patient, or of one duplicate group, share it.

    Links are followed through: if a photograph of patient 1 is a copy of one of patient 2, all
    photographs of both patients form one group.

    Args:
        table: A label table.
        duplicates: Groups of paths that show the same photograph.

    Returns:
        Group numbers, shape (N,), int, from 0.
    """
    patients = pd.factorize(table["patient"])[0]
    row_of = {path: row for row, path in enumerate(table["path"])}
    pairs: list[tuple[int, int]] = [(row, len(table) + int(patient)) for row, patient in enumerate(patients)]
    for group in duplicates:
        rows = [row_of[path] for path in group if path in row_of]
        pairs += pairwise(rows)
    left, right = np.array(pairs).T
    size = len(table) + int(patients.max()) + 1
    graph = coo_matrix((np.ones(len(pairs)), (left, right)), shape=(size, size))
    return connected_components(graph, directed=False)[1][: len(table)]


def _group_labels(table: pd.DataFrame, groups: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return the group number of each row, counted from 0, and the labels that occur in each group."""
    numbers, compact = np.unique(groups, return_inverse=True)
    # Two columns at least, as the splitters want them, also where all photographs are of one class.
    labels = np.zeros((len(numbers), max(task.num_classes, 2)), dtype=bool)
    np.logical_or.at(labels[:, : task.num_classes], compact, task.indicator(table["target"].tolist()))
    return compact, labels


def cut(table: pd.DataFrame, groups: np.ndarray, fraction: float, task: Task, seed: int) -> np.ndarray:
    """Cut a stratified part off a table, groups in one piece.

    Args:
        table: A labelled table of N rows.
        groups: Group number per row, shape (N,).
        fraction: Share of the groups to cut off, in (0, 1).
        task: The task of the targets.
        seed: Random seed.

    Returns:
        True for the rows that are cut off, shape (N,).

    Source: Sechidis et al., "On the Stratification of Multi-Label Data", ECML PKDD 2011, applied to
        the labels that occur in each group (for grades, one label per photograph).
    """
    compact, labels = _group_labels(table, groups, task)
    count = round(fraction * len(labels))
    if not 0 < count < len(labels):
        raise DataError(
            f"a part of {fraction:g} cannot be cut from {len(labels)} patients or photographs; "
            "give more data or another data.val_fraction"
        )
    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=count, random_state=seed)
    _, chosen = next(splitter.split(np.zeros(len(labels)), labels))
    return np.isin(compact, chosen)


def fold_numbers(table: pd.DataFrame, groups: np.ndarray, folds: int, task: Task, seed: int) -> np.ndarray:
    """Return the stratified fold of each row, shape (N,), int in [0, folds), groups in one piece."""
    compact, labels = _group_labels(table, groups, task)
    if not 2 <= folds <= len(labels):
        raise DataError(f"data.folds={folds} must be from 2 to {len(labels)}, the number of patients or photographs")
    of_group = np.zeros(len(labels), dtype=int)
    splitter = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(np.zeros(len(labels)), labels)):
        of_group[held_out] = number
    return of_group[compact]


def leaking_rows(table: pd.DataFrame, duplicates: Sequence[Sequence[str]]) -> np.ndarray:
    """Return which rows show a photograph that also occurs in a part that must not know it.

    A copy in test takes precedence over val and train, one in val over train.

    Returns:
        True for rows to leave out, shape (N,).
    """
    row_of = {path: row for row, path in enumerate(table["path"])}
    splits = table["split"].tolist()
    leaking = np.zeros(len(table), dtype=bool)
    for group in duplicates:
        rows = [row_of[path] for path in group if path in row_of and splits[row_of[path]] in _PRECEDENCE]
        best = min((_PRECEDENCE[splits[row]] for row in rows), default=0)
        for row in rows:
            leaking[row] = _PRECEDENCE[splits[row]] > best
    return leaking


def shared_patients(table: pd.DataFrame) -> int:
    """Return how many patients occur in more than one of train, val and test."""
    known = table[table["split"].isin(_PRECEDENCE)]
    return int((known.groupby("patient")["split"].nunique() > 1).sum())


def stratified_subset(table: pd.DataFrame, limit: int, task: Task, seed: int) -> np.ndarray:
    """Choose at most `limit` rows of each split, stratified, with one of each class where possible.

    Returns:
        True for the rows that are kept, shape (N,).
    """
    labels = task.indicator(table["target"].tolist())
    keep = np.zeros(len(table), dtype=bool)
    for split in SPLITS:
        rows = np.flatnonzero(table["split"].to_numpy() == split)
        rows = np.random.default_rng([seed, SPLITS.index(split)]).permutation(rows)
        totals = labels[rows].sum(axis=0)
        # A row counts for its rarest label, so that rare labels are not crowded out by common ones.
        rarest = np.where(labels[rows], totals, len(table) + 1).argmin(axis=1) if len(rows) else rows
        place = pd.Series(rarest).groupby(rarest).cumcount().to_numpy()
        size = np.bincount(rarest, minlength=task.num_classes)[rarest] if len(rows) else place
        order = np.lexsort(((place + 0.5) / np.maximum(size, 1), place > 0))
        keep[rows[order[:limit]]] = True
    return keep


@dataclass(frozen=True)
class SplitPlan:
    """How photographs come to a part when the owner does not say, or folds are asked for.

    Args:
        task: The task of the targets.
        seed: Random seed.
        folds: Number of folds, or None.
        fold: The fold that is held out as the test part.
        val_fraction: Share for validation: of the whole where test is cut too, else of what is not test.
        test_fraction: Share for the test.
    """

    task: Task
    seed: int = 0
    folds: int | None = None
    fold: int = 0
    val_fraction: float = 0.15
    test_fraction: float = 0.15

    def apply(self, table: pd.DataFrame, groups: np.ndarray) -> pd.DataFrame:
        """Return the table with every row of train, val and test assigned; `predict` rows stay.

        Args:
            table: A label table whose `split` is what the owner gives ("" for nothing).
            groups: Group number per row, shape (N,).
        """
        if self.folds is not None:
            return self._hold_out_fold(table, groups, self.folds)
        given = set(table["split"]) - {"predict"}
        if given == {""}:
            table = table.assign(split=[split or "train" for split in table["split"]])
            table = self._cut_from_train(table, groups, "test", self.test_fraction)
            return self._cut_from_train(table, groups, "val", self.val_fraction / (1 - self.test_fraction))
        if "val" not in given:
            table = self._cut_from_train(table, groups, "val", self.val_fraction)
        return table

    def _hold_out_fold(self, table: pd.DataFrame, groups: np.ndarray, folds: int) -> pd.DataFrame:
        """The fold that is held out must not choose the epoch, so validation is cut from the others."""
        split = table["split"].to_numpy(dtype=object).copy()
        pool = np.flatnonzero(table["target"].notna().to_numpy())
        numbers = fold_numbers(table.iloc[pool], groups[pool], folds, self.task, self.seed)
        split[pool] = np.where(numbers == self.fold, "test", "train")
        return self._cut_from_train(table.assign(split=split), groups, "val", self.val_fraction)

    def _cut_from_train(self, table: pd.DataFrame, groups: np.ndarray, part: str, fraction: float) -> pd.DataFrame:
        split = table["split"].to_numpy(dtype=object).copy()
        train = np.flatnonzero(split == "train")
        chosen = cut(table.iloc[train], groups[train], fraction, self.task, self.seed)
        split[train[chosen]] = part
        return table.assign(split=split)
