"""From a label table to the rows that a run uses: bad files out, duplicates found, parts made, leaks closed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retinai.data.curation import split_files, splits
from retinai.data.curation.known_split import KnownSplit
from retinai.data.curation.quality_filter import Judge, filtered_out
from retinai.data.settings import CurationSettings
from retinai.data.sources.label_table import few
from retinai.errors import DataError, DataFileError
from retinai.tasks.task import Task


@dataclass
class Curation:
    """The steps between a checked label table and the table of a run, and what they found on the way.

    Args:
        name: Name of the data set.
        root: Its folder, for messages.
        task: Its task.
        cache_dir: Folder of the file fingerprints.
        settings: Which rows are used, and how they come to their parts.
        seed: Seed of the split where `settings` gives none.
        known: The split of a training, to follow as far as it goes.
        judge: Judges the quality of photographs, where `settings` asks for it.

    Attributes:
        notes: Sentences about what was found and done.
        reasons: Why rows are not used, per id.
        records: What is known of each file, per path.
    """

    name: str
    root: Path
    task: Task
    cache_dir: Path
    settings: CurationSettings
    seed: int = 0
    known: KnownSplit | None = None
    judge: Judge | None = None
    notes: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    _everything: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)

    @property
    def plan(self) -> splits.SplitPlan:
        """How photographs come to a part where the owner does not say."""
        given = self.settings
        return splits.SplitPlan(
            self.task,
            self.seed if given.split_seed is None else given.split_seed,
            given.folds,
            given.fold,
            val_fraction=given.val_fraction,
            test_fraction=given.test_fraction,
        )

    def curate(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that are used, each with its part.

        Args:
            table: The checked label table.

        Raises:
            DataError: If files or splits cannot be used.
        """
        self._everything = table
        if self.settings.limit is not None:
            # A small subset is for a quick look, so only its own files are read and compared.
            table = self._split(table, [])
            table = self._drop(
                table, ~splits.stratified_subset(table, self.settings.limit, self.task, self.plan.seed), "data.limit"
            )
        table = self.drop_bad_images(table)
        duplicates = self._duplicates(table)
        if self.known is None:  # else the copy in the owner's test part would win over one that was trained on
            table = self._drop_leaks(table, duplicates)
        if self.settings.limit is None:
            table = self._split(table, duplicates)
            table = self._drop_leaks(table, duplicates)
        if self.settings.quality is not None and self.known is None:  # else the training's own choice is followed
            table = self._drop_bad_quality(table)
        for folder in self.settings.extra_folders if self.known is None else []:
            table = self._with_extra(table, folder)
        return table.reset_index(drop=True)

    def _with_extra(self, table: pd.DataFrame, folder: str) -> pd.DataFrame:
        """Return the table with the made-up photographs of a folder in the training part.

        Raises:
            DataError: If the folder cannot be used, or its photographs or their generator know those of val or test.
        """
        from retinai.data.curation.extra_train import check_apart, read_extra
        from retinai.data.curation.file_index import FileIndex

        extra = read_extra(folder, self.task)
        records = FileIndex(self.cache_dir).scan(extra.table["path"].tolist())
        measured = table[table["split"].isin(["val", "test"])]
        check_apart(extra, records, dict(zip(measured["id"], self.contents(measured), strict=True)))
        self.records |= records
        self.notes.append(f"{len(extra.table)} made-up photographs in the training part ({extra.generator})")
        return pd.concat([table, extra.table], ignore_index=True)

    def drop_bad_images(self, table: pd.DataFrame) -> pd.DataFrame:
        """Scan the files and drop or refuse the bad ones; the unlabelled only when they are asked for.

        Raises:
            DataError: If files are bad and `on_bad_image` is `error`; lists them all.
        """
        from retinai.data.curation.file_index import FileIndex

        wanted = table if (table["split"] == "predict").all() else table[table["split"] != "predict"]
        index = FileIndex(self.cache_dir)
        self.notes += index.drop_damaged()
        records = index.scan(wanted["path"].tolist())
        self.records |= records
        reasons = {path: record.reason for path, record in records.items() if record.reason}
        if not reasons:
            return table
        shown = [f"{os.path.relpath(path, self.root)} ({reason})" for path, reason in sorted(reasons.items())]
        if self.settings.on_bad_image == "error":
            raise DataFileError(
                f"{len(shown)} photographs of {self.name} cannot be used: {'; '.join(shown)}",
                "mend or remove them, or leave them out with data.on_bad_image=skip",
            )
        if wanted["path"].isin(list(reasons)).all():
            raise DataFileError(
                f"none of the {len(wanted)} photographs of {self.name} can be used, so that data.on_bad_image=skip "
                f"leaves nothing: {few(shown)}",
                f"check data.root={self.root}",
            )
        self.notes.append(f"{len(shown)} unusable photographs left out: {few(shown)}")
        return self._drop(table, table["path"].isin(list(reasons)).to_numpy(), "unusable")

    def _drop_bad_quality(self, table: pd.DataFrame) -> pd.DataFrame:
        out, notes = filtered_out(table, str(self.settings.quality), self.judge)
        self.notes += notes
        self.reasons |= out
        return table[~table["id"].isin(list(out))].reset_index(drop=True)

    def left_out(self) -> pd.DataFrame:
        """Return the rows of the owner's table that are not used, with the reason in `note`."""
        rows = self._everything[self._everything["id"].isin(list(self.reasons))].copy()
        rows["note"] = [self.reasons[i] for i in rows["id"]]
        return rows.assign(split=splits.LEFT_OUT)

    def in_owners_order(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return rows in the order of the owner's table."""
        order = {name: place for place, name in enumerate(self._everything["id"])}
        return table.sort_values("id", key=lambda ids: ids.map(order))

    def class_counts(self, table: pd.DataFrame) -> list[int]:
        """Return the training photographs per class."""
        train = table[table["split"] == "train"]
        return [int(n) for n in self.task.indicator(train["target"].tolist()).sum(axis=0)]

    def contents(self, table: pd.DataFrame, label: int | None = None) -> list[tuple[str, str]]:
        """Return content hash and perceptual hash, hex, of the rows of a table, or of those with a class."""
        if label is not None:
            table = table[self.task.indicator(table["target"].tolist())[:, label]]
        found = [self.records[path] for path in table["path"] if path in self.records]
        return [(record.sha256, record.phash) for record in found]

    def check_training(self, counts: Sequence[int]) -> None:
        """Refuse to learn from a training part that lacks a class, or with `data.limit` add a note.

        Args:
            counts: Of `class_counts`.

        Raises:
            DataError: Names the classes.
        """
        absent = self.task.absent_classes(counts)
        if not absent:
            return
        sentence = f"class {few(absent)} is absent from the training part of {self.name}"
        if self.settings.limit is None:
            left_out = (
                ""
                if self.settings.quality is None
                else f"data.quality={self.settings.quality} (it leaves photographs out), "
            )
            raise DataError(
                f"{sentence}; check {left_out}the labels, or choose another data.split_seed or data.split_file"
            )
        self.notes.append(sentence)

    def fingerprint(self, table: pd.DataFrame) -> str:
        """Return a hash of ids, targets, parts and file contents."""
        digest = hashlib.sha256()
        for row in table.sort_values("id").to_dict("records"):
            sha256 = getattr(self.records.get(row["path"]), "sha256", "")
            digest.update(f"{row['id']}|{row['target']}|{row['split']}|{sha256}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]

    def _drop(self, table: pd.DataFrame, mask: np.ndarray, reason: str) -> pd.DataFrame:
        self.reasons |= dict.fromkeys(table.loc[mask, "id"], reason)
        return table[~mask].reset_index(drop=True)

    def _duplicates(self, table: pd.DataFrame) -> list[list[str]]:
        """Find photographs that occur more than once, and say so."""
        from retinai.data.curation.duplicates import find_duplicates

        known = {path: self.records[path] for path in table["path"] if path in self.records}
        groups = [list(group.paths) for group in find_duplicates(known, near=self.settings.near_duplicates)]
        target_of = dict(zip(table["path"], table["target"], strict=True))
        conflicting = sum(len({target_of[path] for path in group}) > 1 for group in groups)
        if groups:
            self.notes.append(
                f"{len(groups)} photographs occur more than once ({sum(map(len, groups))} files), "
                f"{conflicting} of them with different labels; each group stays on one side of a split"
            )
        return groups

    def _drop_leaks(self, table: pd.DataFrame, duplicates: Sequence[Sequence[str]]) -> pd.DataFrame:
        leaking = splits.leaking_rows(table, duplicates)
        if leaking.any():
            names = table.loc[leaking, "id"].tolist()
            self.notes.append(f"{len(names)} photographs left out because they also occur in test or val: {few(names)}")
        return self._drop(table, leaking, "also in test or val")

    def _split(self, table: pd.DataFrame, duplicates: Sequence[Sequence[str]]) -> pd.DataFrame:
        """Fill the split column."""
        if self.known is not None:
            parts, notes = self.known.assign(table, duplicates)
            self.notes += notes
            table = table.assign(split=parts)
            return self._drop(table, (table["split"] == splits.LEFT_OUT).to_numpy(), "left out in the training")
        if self.settings.split_file is not None:
            kept = split_files.read_splits(self.settings.split_file, self._everything, self.task)
            by_id = dict(zip(self._everything["id"], kept, strict=True))
            table = table.assign(split=[by_id[i] for i in table["id"]])
            return self._drop(
                table, (table["split"] == splits.LEFT_OUT).to_numpy(), f"left out by {self.settings.split_file}"
            )
        groups = splits.link_groups(table, duplicates)
        if self.settings.folds is not None:
            official = (table["split"] == "test").to_numpy()
            table, groups = self._drop(table, official, "official test part"), groups[~official]
        return self.plan.apply(table, groups)
