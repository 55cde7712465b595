"""One part of a job: its photographs are fetched, graded, and written as one Parquet file."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from retinai.batch_inference.job import Job, is_local, open_address, write_whole
from retinai.config.devices import peak_memory
from retinai.data.photographs.images import MAX_BYTES, BadImageError, read_bytes
from retinai.data.photographs.original import Original
from retinai.errors import UserError
from retinai.metrics.decisions import decide
from retinai.prediction.outside import DISTANCE, OUTSIDE
from retinai.prediction.photographs import Photographs
from retinai.prediction.reading import Reading, read_original
from retinai.prediction.uncertainty import COLUMNS
from retinai.runtime import ExportedModel

_FETCHERS = 4  # files that are fetched at a time, while another is graded
_NUMBERS = (DISTANCE, *COLUMNS)
_STATISTICS = b"retinai"


@dataclass(frozen=True)
class Statistics:
    """What a part took; kept in its file.

    Args:
        part: Its number, from 0.
        photographs: Rows of the file.
        bad: Rows with an error.
        seconds: By the clock.
        processor: Seconds of all threads of its process.
        megabytes: The most memory that the process has had so far.
        process: Its number on its machine.
    """

    part: int
    photographs: int
    bad: int
    seconds: float
    processor: float
    megabytes: float
    process: int


def part_name(part: int) -> str:
    """Return the name of a part's file."""
    return f"part-{part:06d}.parquet"


def missing_parts(job: Job) -> list[int]:
    """Return the parts that have no file yet."""
    system, folder = job.place("")
    system.invalidate_cache()
    there = {name.rpartition("/")[2] for name in system.ls(folder.rstrip("/"), detail=False)}
    return [part for part in range(job.parts) if part_name(part) not in there]


def statistics_of(job: Job, part: int) -> Statistics:
    """Return the statistics of a part that is there.

    Raises:
        UserError: If its file is damaged, or another one's.
    """
    system, path = job.place(part_name(part))
    try:
        with system.open(path, "rb") as file:
            metadata = pq.read_metadata(file)
        found = Statistics(**json.loads(metadata.metadata[_STATISTICS]))
        if (found.part, found.photographs) != (part, metadata.num_rows):
            raise ValueError("it is of another part")
    except Exception as error:  # Arrow's words for a damaged file are many
        raise UserError(
            f"{path} is damaged, or no part of this job; remove it, and the command grades that part again"
        ) from error
    return found


def grade_part(grader: ExportedModel, job: Job, part: int, batch_size: int, attempts: int) -> Statistics:
    """Grade the photographs of a part and write its file, whole or not at all; doing it again changes nothing.

    Args:
        grader: Of the job's model.
        job: The job.
        part: Number of the part.
        batch_size: Photographs per run of the network.
        attempts: How often a file is fetched at most.
    """
    began, used = time.perf_counter(), time.process_time()
    listed = job.photographs_of(part)
    names = [_text(address) for address, _ in listed]
    photographs = Photographs([Path(name).stem for name in names], names)
    table = grader.grade_readings(photographs, _readings(grader, listed, attempts), batch_size)
    statistics = Statistics(
        part, len(table), int((table["error"] != "").sum()), time.perf_counter() - began,
        time.process_time() - used, peak_memory(), os.getpid(),
    )  # fmt: skip
    write_whole(job, part_name(part), to_parquet(table, grader, statistics))
    return statistics


def to_parquet(table: pd.DataFrame, grader: ExportedModel, statistics: Statistics) -> bytes:
    """Return the table of `prediction_table` as the bytes of a Parquet file; every part has the same types.

    Args:
        table: One row per photograph.
        grader: Whose predictions they are; grades are whole numbers, labels are texts.
        statistics: Kept in the file.
    """
    predictions = [None if pd.isna(value) else value for value in table["prediction"]]
    # What a decision looks like, so that a part without one has the types of the others.
    labels = grader.task.csv_labels(decide(np.full((1, grader.task.num_classes), 0.5), grader.decision_rule))
    kind = pa.int64() if isinstance(labels, np.ndarray) else pa.string()
    columns = {
        "id": pa.array(table["id"].tolist(), pa.string()),
        "path": pa.array(table["path"].tolist(), pa.string()),
        "prediction": pa.array(predictions, kind),
        **{f"p_{c}": pa.array(table[f"p_{c}"], pa.float64(), from_pandas=True) for c in grader.task.classes},
        **{name: pa.array(table[name].tolist(), pa.string()) for name in table.columns if name.startswith("set_")},
        **{name: pa.array(table[name], pa.float64(), from_pandas=True) for name in _NUMBERS if name in table},
        **({OUTSIDE: pa.array(table[OUTSIDE].tolist(), pa.string())} if OUTSIDE in table else {}),
        "error": pa.array(table["error"].tolist(), pa.string()),
    }
    arrow = pa.table(columns).replace_schema_metadata({_STATISTICS: json.dumps(asdict(statistics))})
    buffer = pa.BufferOutputStream()
    pq.write_table(arrow, buffer)
    return bytes(buffer.getvalue().to_pybytes())


def fetch(system: fsspec.AbstractFileSystem, path: str, size: int | None, attempts: int) -> bytes:
    """Return the bytes of a photograph, from this machine or another.

    Args:
        system: Where it lies.
        path: Its path there.
        size: Its bytes, as far as they were listed.
        attempts: How often it is asked for at most, where the answer may be another one the next time.

    Raises:
        BadImageError: If it is missing, empty or too large, or cannot be fetched.
    """
    if is_local(system):
        return read_bytes(path)
    if size is not None and size > MAX_BYTES:
        raise BadImageError(path, f"too large: {size:,} bytes, more than {MAX_BYTES:,}")
    for attempt in range(attempts):
        try:
            data = bytes(system.cat_file(path))
        except FileNotFoundError as error:
            raise BadImageError(path, "no such file") from error
        except PermissionError as error:
            raise BadImageError(path, f"cannot be read ({error})") from error
        except (
            Exception
        ) as error:  # every service has errors of its own: time-outs, too many requests, lost connections
            if attempt + 1 == attempts:
                reason = f"could not be fetched in {attempts} attempts ({type(error).__name__}: {error})"
                raise BadImageError(path, reason) from error
            time.sleep(0.2 * 4**attempt)
        else:
            if not data:
                raise BadImageError(path, "empty file")
            return data
    raise ValueError(f"attempts={attempts} must be at least 1")


def _readings(grader: ExportedModel, listed: list[tuple[str, int | None]], attempts: int) -> Iterator[Reading]:
    """Yield readings in the order of the list, while the next files are fetched."""
    waiting: deque[tuple[int, str, Future[bytes]]] = deque()
    with ThreadPoolExecutor(_FETCHERS) as pool:
        todo = iter(enumerate(listed))
        while True:
            while len(waiting) < 2 * _FETCHERS and (following := next(todo, None)) is not None:
                index, (address, size) = following
                system, path = open_address(address, "images")
                waiting.append((index, address, pool.submit(fetch, system, path, size, attempts)))
            if not waiting:
                return
            index, address, coming = waiting.popleft()
            yield _read(grader, index, _text(address), coming)


def _read(grader: ExportedModel, index: int, name: str, coming: Future[bytes]) -> Reading:
    try:
        original = Original(coming.result(), name)
        return Reading(index, *read_original(original, grader.preprocessing, grader.folder.fields))
    except BadImageError as error:
        return Reading(index, None, reason=error.reason)


def _text(address: str) -> str:
    r"""Return an address as a text that Parquet can hold; bytes that are not UTF-8 become `\xff`."""
    return address.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
