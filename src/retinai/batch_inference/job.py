"""What is to be graded, kept beside the grades, so that a killed job goes on and another one does not mix with it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from retinai.config.record_schemas import Record, Sha256, check_record
from retinai.errors import UserError
from retinai.files import MAX_TEXT_BYTES, UnreadableError, no_room, read_regular, short_name, told
from retinai.output_folders import remove_leftovers
from retinai.prediction.photographs import SUFFIXES

FORMAT = 1
# Names that begin with an underscore are passed over by whoever reads a folder of Parquet files as one table.
JOB, LISTING, SUMMARY = "_job.json", "_photographs.parquet", "_summary.json"


@dataclass(frozen=True)
class Job:
    """One exported folder, many photographs, and where their grades go.

    Args:
        model: The exported folder; every machine has to see it under this name.
        model_sha256: Of its `model.json`, which holds the SHA-256 of everything else in it.
        images: What the photographs were listed from.
        out: Address of the folder of the grades.
        part_size: Photographs per Parquet file.
        photographs: How many there are.
    """

    model: str
    model_sha256: str
    images: str
    out: str
    part_size: int
    photographs: int

    @property
    def parts(self) -> int:
        """How many Parquet files there will be."""
        return -(-self.photographs // self.part_size)

    def place(self, name: str) -> tuple[fsspec.AbstractFileSystem, str]:
        """Return the file system of `out` and the path of a file in it."""
        system, folder = open_address(self.out, "out")
        return system, f"{folder.rstrip('/')}/{name}"

    def photographs_of(self, part: int) -> list[tuple[str, int | None]]:
        """Return address and size in bytes (None where nobody told) of the photographs of a part, in their order."""
        system, path = self.place(LISTING)
        with system.open(path, "rb") as file:
            rows = pq.ParquetFile(file).read_row_group(part).to_pylist()
        return [(row["address"].decode("utf-8", "surrogateescape"), row["size"]) for row in rows]


def open_address(address: str, key: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of an address, such as `s3://bucket/folder` or a plain folder, and its path in there.

    Raises:
        UserError: If nobody knows the protocol, its package is missing, or it refuses; names the key.
    """
    try:
        return fsspec.core.url_to_fs(str(Path(address).expanduser()) if "://" not in address else address)
    except (ImportError, ValueError, OSError) as error:
        raise UserError(f"{key}={address} cannot be opened: {error}") from error


def open_job(model: str, images: str, out: str, part_size: int, overwrite: bool) -> Job:
    """Return the job that `out` holds, or begin it there.

    Args:
        model: The exported folder.
        images: A folder (with its subfolders), a pattern or a file; any address of fsspec.
        out: Address of the folder of the grades.
        part_size: Photographs per Parquet file.
        overwrite: Begin anew where `out` holds grades.

    Raises:
        UserError: If no photographs are found, an address cannot be opened, or `out` holds another job.
    """
    manifest = Path(model).expanduser().resolve() / "model.json"
    if not manifest.is_file():
        raise UserError(f"model={model} is no folder of `retinai export`: it has no model.json")
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    wanted = Job(str(manifest.parent), digest, images, _absolute(out), part_size, 0)
    system, path = wanted.place(JOB)
    if is_local(system):
        remove_leftovers(Path(path).parent, None)
    if overwrite:
        _clear(wanted)
    elif system.exists(path):
        return _known(wanted, _read_job(system, path, wanted.out))
    listing = list_photographs(images)
    job = Job(**{**asdict(wanted), "photographs": len(listing)})
    try:
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
    except OSError as error:
        raise _unwritable(wanted.out, error) from error
    table = pa.table(
        {
            "address": pa.array([a.encode("utf-8", "surrogateescape") for a, _ in listing], pa.binary()),
            "size": pa.array([size for _, size in listing], pa.int64()),
        }
    )
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, row_group_size=part_size)
    write_whole(job, LISTING, buffer.getvalue().to_pybytes())
    write_whole(job, JOB, json.dumps({"format": FORMAT, **asdict(job)}, indent=1).encode())
    return job


def write_whole(job: Job, name: str, content: bytes) -> None:
    """Write a file of the job whole or not at all: under another name first."""
    system, path = job.place(name)
    # The name tells host and process, so that the next call can remove what a killed one left on this machine.
    _, temporary = job.place(short_name(name, f"{socket.gethostname()}-{os.getpid()}.{uuid.uuid4().hex}"))
    try:
        system.pipe_file(temporary, content)
        system.mv(temporary, path)
    except OSError as error:
        with suppress(Exception):  # what matters is said below
            system.rm_file(temporary)
        raise _unwritable(job.out, error) from error


def _unwritable(out: str, error: OSError) -> UserError:
    if lack := no_room(error):
        return UserError(f"{lack[0]}: out={out} could not be written; {lack[1]}, or choose another folder")
    return UserError(f"out={out} cannot be written: {told(error)}; choose another folder")


def list_photographs(images: str) -> list[tuple[str, int | None]]:
    """Return address and size of all photographs that are meant, sorted by address.

    Args:
        images: A folder (with its subfolders), a pattern or a file. In a pattern `**` stands for any folders, also
            before a name as in `**.jpg`.

    Raises:
        UserError: If nothing is found, or the address cannot be searched.
    """
    system, place = open_address(images, "images")
    try:
        if "*" in place or "?" in place or "[" in place:
            found = system.glob(re.sub(r"\*\*(?=[^/*])", "**/*", place), detail=True)
        elif system.isdir(place):
            every = system.find(place, detail=True)
            found = {name: facts for name, facts in every.items() if name.lower().endswith(SUFFIXES)}
        else:
            found = {place: system.info(place)} if system.exists(place) else {}
    except (OSError, ValueError) as error:
        raise UserError(f"images={images} cannot be searched: {error}") from error
    files = sorted((name, facts.get("size")) for name, facts in found.items() if facts.get("type") != "directory")
    if not files:
        raise UserError(f"images={images}: no photographs were found there ({', '.join(SUFFIXES)}, or a pattern)")
    return [(name if is_local(system) else system.unstrip_protocol(name), size) for name, size in files]


def is_local(system: fsspec.AbstractFileSystem) -> bool:
    """Return whether a file system is that of this machine."""
    protocol = system.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def _absolute(out: str) -> str:
    """Return an address that means the same on every machine and in every folder."""
    return out if "://" in out else str(Path(out).expanduser().resolve())


class JobRecord(Record):
    """`_job.json`."""

    format: int
    model: str
    model_sha256: Sha256
    images: str
    out: str
    part_size: int = Field(ge=1)
    photographs: int = Field(ge=1)


def _read_job(system: fsspec.AbstractFileSystem, path: str, out: str) -> dict[str, Any]:
    """Return what `_job.json` holds, once it is known to be such a file, and the list beside it to be of its length.

    Raises:
        UserError: Says what is wrong.
    """
    begin_anew = "choose another folder, or begin anew with overwrite=true"
    try:
        text = read_regular(path, MAX_TEXT_BYTES) if is_local(system) else system.cat_file(path)
        content = json.loads(text)
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise UserError(f"out={out} holds grades of another retinai; {begin_anew}")
        check_record(JobRecord, content)
    except UnreadableError as error:
        raise UserError(f"out={out}: {JOB}: {error.reason}; {begin_anew}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"out={out}: {JOB} is damaged ({error}); {begin_anew}") from error
    try:
        with system.open(f"{path.rpartition('/')[0]}/{LISTING}", "rb") as file:
            listed = pq.read_metadata(file)
    except Exception as error:  # Arrow's words for a damaged file are many
        raise UserError(f"out={out}: {LISTING} is missing or damaged; {begin_anew}") from error
    parts = -(-content["photographs"] // content["part_size"])
    if (listed.num_rows, listed.num_row_groups) != (content["photographs"], parts):
        raise UserError(f"out={out}: {JOB} and {LISTING} are not of one job; {begin_anew}")
    return dict(content)


def _known(wanted: Job, content: dict[str, Any]) -> Job:
    """Return the job that is in `out`, if it is the one that is wanted."""
    content.pop("format")
    job = Job(**content)
    for key, words in (
        ("images", "other photographs"),
        ("model_sha256", "another model"),
        ("part_size", "other parts"),
    ):
        if getattr(job, key) != getattr(wanted, key):
            raise UserError(
                f"out={wanted.out} holds grades of {words} ({getattr(job, key)}); choose another folder, or begin anew "
                "with overwrite=true"
            )
    return Job(**{**content, "model": wanted.model, "out": wanted.out})


def _clear(job: Job) -> None:
    """Remove what an earlier job wrote, the mark of a job first, and nothing else."""
    system, path = job.place(JOB)
    if not system.exists(path):
        return
    system.rm_file(path)
    folder = path.rpartition("/")[0]
    for name in (LISTING, SUMMARY):
        if system.exists(f"{folder}/{name}"):
            system.rm_file(f"{folder}/{name}")
    for part in system.glob(f"{folder}/part-*.parquet"):
        system.rm_file(part)
