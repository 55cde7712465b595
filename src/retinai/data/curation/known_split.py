"""The split that a checkpoint was trained with, and how another copy of the data set follows it.

A copy may have more photographs, fewer, or others. What was trained on must never be tested on, so each
photograph that is known keeps its part, and only the others get one anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from retinai.data.curation.split_files import read_rows
from retinai.data.curation.splits import LEFT_OUT
from retinai.data.sources.label_table import SPLITS, few
from retinai.errors import DataError

_DIGITS = 16  # hex digits that are kept of an id's SHA-256: 64 bits tell a million ids apart
_TRAINED = ("train", "val")  # parts that have shaped the network


@dataclass(frozen=True)
class KnownSplit:
    """Which photographs stood in which part when a network was trained.

    Ids are kept as hashes, because they may name patients and a checkpoint is passed on.

    Args:
        parts: Hash of the id -> one of SPLITS or LEFT_OUT.
    """

    parts: Mapping[str, str]

    @classmethod
    def of_ids(cls, ids: Iterable[str], splits: Iterable[str]) -> KnownSplit:
        """Return the split of ids and their parts."""
        return cls({_hash(name): split for name, split in zip(ids, splits, strict=True)})

    @classmethod
    def of_file(cls, path: str | Path) -> KnownSplit:
        """Read a `split.csv` of a run.

        Raises:
            DataError: If it cannot be used.
        """
        table = read_rows(path)
        _check_parts(set(table["split"]), str(path))
        return cls.of_ids(table["id"], table["split"])

    @classmethod
    def from_dict(cls, values: Any) -> KnownSplit:
        """Rebuild a split from `to_dict`.

        Raises:
            DataError: If the values are not of that form.
        """
        name = "the split in the checkpoint"
        if not isinstance(values, Mapping) or not all(
            isinstance(text, str) and len(text) % _DIGITS == 0 for text in values.values()
        ):
            raise DataError(f"{name} is damaged; use another copy of the checkpoint")
        _check_parts(set(values), name)
        return cls({t[n : n + _DIGITS]: part for part, t in values.items() for n in range(0, len(t), _DIGITS)})

    def to_dict(self) -> dict[str, str]:
        """Return part -> the hashes of its ids, joined; plain values for a checkpoint."""
        joined: dict[str, list[str]] = {}
        for key, part in self.parts.items():
            joined.setdefault(part, []).append(key)
        return {part: "".join(keys) for part, keys in joined.items()}

    def part_of(self, name: str) -> str | None:
        """Return the part of an id, or None if it was not there."""
        return self.parts.get(_hash(name))

    def assign(self, table: pd.DataFrame, duplicates: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
        """Give each row of a label table its part.

        A known photograph keeps its part. Another one takes the owner's part, or `test` where the owner gives
        none; if it shows the same as a photograph that was trained on, it goes with that one instead. Those
        without a label are in `predict`.

        Args:
            table: A label table whose `split` is what the owner gives ("" for nothing).
            duplicates: Groups of paths that show the same photograph.

        Returns:
            A part per row, one of SPLITS or LEFT_OUT, and sentences about it.
        """
        known = [self.part_of(name) for name in table["id"]]
        labelled = table["target"].notna().tolist()
        parts, fresh = list[str](), list[int]()
        for row, (part, owners) in enumerate(zip(known, table["split"], strict=True)):
            if part is None or (labelled[row] == (part == "predict") and part != LEFT_OUT):
                fresh.append(row)
                part = (owners if owners not in ("", "predict") else "test") if labelled[row] else "predict"
            parts.append(part)
        copies = _follow_copies(parts, set(fresh), table["path"].tolist(), duplicates)
        return parts, self._notes(table, parts, fresh, copies)

    def _notes(self, table: pd.DataFrame, parts: list[str], fresh: list[int], copies: list[int]) -> list[str]:
        notes = [f"the split is that of the training: {len(parts) - len(fresh)} of {len(parts)} photographs were there"]
        if fresh:
            counts = pd.Series([parts[row] for row in fresh]).value_counts()
            where = ", ".join(f"{counts[part]} in {part}" for part in (*SPLITS, LEFT_OUT) if part in counts)
            notes.append(f"{len(fresh)} photographs were not there; they take the owner's part, or else test: {where}")
        if copies:
            names = few([table["id"].iloc[row] for row in copies])
            notes.append(f"{len(copies)} of these show what the network was trained on and go with it: {names}")
        return notes


def _follow_copies(
    parts: list[str], fresh: set[int], paths: list[str], duplicates: Sequence[Sequence[str]]
) -> list[int]:
    """Move fresh rows that show a photograph of the training into its part; return those rows."""
    row_of, moved = {path: row for row, path in enumerate(paths)}, list[int]()
    for group in duplicates:
        rows = [row_of[path] for path in group if path in row_of]
        seen = {parts[row] for row in rows if row not in fresh}
        part = next((part for part in _TRAINED if part in seen), None)
        for row in rows:
            if part is not None and row in fresh and parts[row] not in (part, "predict"):
                parts[row] = part
                moved.append(row)
    return moved


def _check_parts(parts: set[str], name: str) -> None:
    wrong = sorted(parts - {*SPLITS, LEFT_OUT})
    if wrong:
        raise DataError(f"{name}: split must be one of {', '.join([*SPLITS, LEFT_OUT])}; found {few(wrong)}")


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
