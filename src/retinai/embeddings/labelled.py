"""Embeddings and labels brought together: the training and the test part of each target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retinai.data.curation.file_index import FileIndex
from retinai.data.sources.label_table import few
from retinai.embeddings.files import Embeddings
from retinai.embeddings.targets import Target
from retinai.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from retinai.data.datamodule import FundusDataModule


@dataclass(frozen=True, eq=False)
class Part:
    """The photographs of one part of which an answer is known, N.

    Args:
        ids: Their names.
        paths: Their files.
        patients: Whose they are.
        targets: Answers: int64 classes or float64 numbers, shape (N,).
    """

    ids: list[str]
    paths: list[str]
    patients: list[str]
    targets: NDArray[Any]

    def take(self, rows: NDArray[np.int64]) -> Part:
        """Return some rows."""
        ids, paths, patients = ([texts[row] for row in rows] for texts in (self.ids, self.paths, self.patients))
        return Part(ids, paths, patients, self.targets[rows])

    def features(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """Return the embeddings of the photographs, shape (N, K)."""
        row = {name: number for number, name in enumerate(embeddings.ids)}
        return embeddings.vectors[[row[name] for name in self.ids]]


def check_photographs(embeddings: Embeddings, datamodule: FundusDataModule) -> None:
    """Refuse embeddings that are not of the photographs of a data set, by their names and by their content.

    Args:
        embeddings: The file.
        datamodule: The data set, set up.

    Raises:
        DataError: If photographs with a label are missing, or are others of the same name; says how many.
    """
    table = datamodule.table[datamodule.table["target"].notna()]
    hashes = dict(zip(embeddings.ids, embeddings.hashes, strict=True))
    missing = [name for name in table["id"] if name not in hashes]
    if missing:
        unreadable = {n: r for n, r in embeddings.info.get("unreadable", {}).items() if n in missing}
        why = f" ({len(unreadable)} of them could not be read: {next(iter(unreadable.values()))})" if unreadable else ""
        raise DataError(
            f"{embeddings.file} lacks {len(missing)} of the {len(table)} labelled photographs of data={datamodule.name}"
            f"{why}: {few(missing)}; embed the same data set, or leave them out with data.on_bad_image=skip"
        )
    index = FileIndex(datamodule.cache_dir)
    other = [i for i, path in zip(table["id"], table["path"], strict=True) if index.content_hash(path) != hashes[i]]
    if other:
        raise DataError(
            f"{embeddings.file} was made of other photographs: {len(other)} of the {len(table)} of "
            f"data={datamodule.name} have another content ({few(other)}); embed the data set again"
        )


def make_parts(target: Target, table: pd.DataFrame) -> tuple[Part, Part]:
    """Return the part to fit a probe on (train and val) and the part to measure it on (test).

    Args:
        target: What is asked.
        table: The label table with the final split.

    Raises:
        DataError: If a part has no answers, or the training part too few of a class; says which.
    """
    training = _part(target, table, ("train", "val"))
    test = _part(target, table, ("test",))
    for part, name in ((training, "training"), (test, "test")):
        if not part.ids:
            raise DataError(
                f"target={target.name} is known of no photograph of the {name} part; with data.folds= and data.fold= "
                "any part can be the test part"
            )
    if not target.task.has_probabilities:
        if len(set(training.patients)) < 2:
            raise DataError(f"target={target.name}: the training part has one patient only; two are needed")
        return training, test
    values, counts = np.unique(training.targets, return_counts=True)
    few_of = [target.task.classes[v] for v, n in zip(values, counts, strict=True) if n < 2]
    if few_of or len(values) < 2:
        told = f"one photograph only of {few(few_of)}" if few_of else f"no photograph but of {_name(target, values)}"
        raise DataError(f"target={target.name}: the training part has {told}; a probe needs two of each of two classes")
    if len(np.unique(test.targets)) < 2:
        told = _name(target, test.targets)
        raise DataError(
            f"target={target.name}: the test part has no photograph but of {told}, so nothing can be ranked"
        )
    return training, test


def _part(target: Target, table: pd.DataFrame, splits: Sequence[str]) -> Part:
    rows = table[table["split"].isin(splits) & table["id"].isin(target.values)]
    answers = target.task.target_array([target.values[name] for name in rows["id"]])
    return Part(rows["id"].tolist(), rows["path"].tolist(), [str(p) for p in rows["patient"]], answers)


def _name(target: Target, values: NDArray[Any]) -> str:
    return target.task.classes[int(values[0])]
