"""What is to be graded, kept beside the grades, so that a killed job goes on and another one does not mix with it."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from retinai.errors import UserError
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
    if overwrite:
        _clear(wanted)
    elif system.exists(path):
        return _known(wanted, json.loads(system.cat_file(path)))
    listing = list_photographs(images)
    job = Job(**{**asdict(wanted), "photographs": len(listing)})
    system.makedirs(path.rpartition("/")[0], exist_ok=True)
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
    _, temporary = job.place(f"_{uuid.uuid4().hex}.tmp")
    system.pipe_file(temporary, content)
    system.mv(temporary, path)


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


def _known(wanted: Job, content: dict[str, Any]) -> Job:
    """Return the job that is in `out`, if it is the one that is wanted."""
    if content.pop("format", None) != FORMAT:
        raise UserError(f"out={wanted.out} holds grades of another retinai; choose another folder, or overwrite=true")
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
