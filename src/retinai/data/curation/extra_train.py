"""Made-up photographs that join the training part (`data.extra_train=`): where they came from, and that it is allowed.

A generator that was trained on a photograph can give it back. So nothing may be measured on what a generator has seen:
its folder tells by hashes what that was, and a run whose validation or test part holds any of it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from retinai.config.record_schemas import ClassName, Name, OpenRecord, Sha256, check_record
from retinai.csv_cells import from_cell
from retinai.data.curation.duplicates import NEAR_DISTANCE, bit_distances, hash_words
from retinai.data.curation.file_index import FileRecord
from retinai.data.sources.label_files import read_labels
from retinai.data.sources.label_table import few
from retinai.errors import DataError, UserError
from retinai.files import read_json
from retinai.tasks.task import Task

PHOTOGRAPHS, PROVENANCE = "photographs.csv", "provenance.json"
# No data set's own id begins so; by it a split file tells these rows from those of the data set.
EXTRA_ID = "made_up:"


_Picture = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
_Seen = Annotated[tuple[Sha256, _Picture], Field(strict=False)]  # JSON has lists alone


class Provenance(OpenRecord):
    """What the rules below need of `provenance.json`.

    Attributes:
        generator: What made the photographs.
        classes: Of its task.
        seen: Content hash and perceptual hash (empty where there was none) of each photograph that it was trained on.
    """

    generator: Name
    classes: list[ClassName]
    seen: list[_Seen]


@dataclass(frozen=True)
class ExtraTrain:
    """A folder of made-up photographs.

    Args:
        folder: Where it lies.
        generator: What made them, such as `vae:<hash>`.
        table: One row per photograph, with the columns of a label table.
        seen: Content hash and perceptual hash of each photograph that the generator was trained on.
    """

    folder: Path
    generator: str
    table: pd.DataFrame
    seen: list[tuple[str, str]]


def read_extra(folder: str | Path, task: Task) -> ExtraTrain:
    """Read a folder that `retinai synthesize from=` wrote.

    Raises:
        DataError: If it is no such folder, or of other classes.
    """
    folder = Path(folder)
    facts = _provenance(folder)
    if tuple(facts.classes) != task.classes:
        raise DataError(
            f"data.extra_train={folder} has the classes {', '.join(facts.classes)}, the data set has "
            f"{', '.join(task.classes)}; make photographs with a generator that was trained on this data set's task"
        )
    rows = read_labels(folder / PHOTOGRAPHS, ["id", "file", "target"])
    rows[["id", "file", "target"]] = rows[["id", "file", "target"]].map(from_cell)
    try:
        targets = task.read_csv_labels(rows["target"]).tolist()
    except (DataError, ValueError) as error:
        raise DataError(f"{folder / PHOTOGRAPHS}: {error}") from error
    missing = [name for name in rows["file"] if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder / PHOTOGRAPHS} names {len(missing)} photographs that are not there: {few(missing)}")
    generator = facts.generator
    ids = [f"{EXTRA_ID}{generator}:{name}" for name in rows["id"]]
    table = pd.DataFrame(
        {
            "id": pd.Series(ids, dtype=object),
            "path": [str((folder / name).absolute()) for name in rows["file"]],
            "target": pd.Series([tuple(t) if isinstance(t, list) else int(t) for t in targets], dtype=object),
            "patient": ids,
            "eye": "",
            "split": "train",
            "source": generator,
            "row": 0,
        }
    )
    return ExtraTrain(folder, generator, table, facts.seen)


def check_apart(extra: ExtraTrain, records: Mapping[str, FileRecord], measured: Mapping[str, tuple[str, str]]) -> None:
    """Refuse photographs that know those on which is measured.

    Args:
        extra: The made-up photographs.
        records: What is known of their files, by path.
        measured: Content hash and perceptual hash of each photograph of val and test, by id.

    Raises:
        DataError: If files cannot be read, the generator was trained on some of the measured photographs, or some of
            the folder's are (nearly) among them.
    """
    place = f"data.extra_train={extra.folder}"
    bad = [f"{Path(path).name} ({record.reason})" for path, record in records.items() if record.reason]
    if bad:
        raise DataError(f"{place}: {len(bad)} photographs cannot be read: {few(bad)}")
    seen = _matches(extra.seen, measured)
    if seen:
        raise DataError(
            f"{place}: its generator ({extra.generator}) was trained on {len(seen)} photographs of this run's "
            f"validation or test part: {few(seen)}; train the generator with the same split (data.split_seed, "
            "data.split_file)"
        )
    files = {path: (record.sha256, record.phash) for path, record in records.items()}
    if found := _matches(list(files.values()), measured):
        raise DataError(
            f"{place}: {len(found)} photographs of this run's validation or test part are in the folder, or nearly so: "
            f"{few(found)}; leave them out of the folder"
        )


def _matches(hashes: list[tuple[str, str]], measured: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return the ids whose photograph is among hashes: the same bytes, or nearly the same picture."""
    contents = {content for content, _ in hashes}
    same = [name for name, (content, _) in measured.items() if content in contents]
    pictures = [picture for _, picture in hashes if picture]
    others = {name: picture for name, (_, picture) in measured.items() if picture and name not in same}
    if not pictures or not others:
        return same
    distances = bit_distances(hash_words(list(others.values())), hash_words(pictures))
    return same + [name for name, row in zip(others, distances, strict=True) if row.min() <= NEAR_DISTANCE]


def _provenance(folder: Path) -> Provenance:
    file = folder / PROVENANCE
    if not folder.is_dir():
        raise DataError(f"data.extra_train={folder} is no folder; retinai synthesize from=CKPT out=FOLDER writes one")
    if not file.exists():
        raise DataError(
            f"data.extra_train={folder} holds no {PROVENANCE}, so nothing tells what its generator has seen; give a "
            "folder of retinai synthesize from=CKPT"
        )
    try:
        return check_record(Provenance, read_json(file))
    except UserError as error:  # names the file
        raise DataError(f"{error}; make the folder again") from error
    except ValueError as error:
        raise DataError(f"{file} is damaged: {error}; make the folder again") from error
