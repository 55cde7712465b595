"""Files of embeddings: `.npz` of numpy or `.parquet`, written a block at a time and read whole."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from retinai.config.record_schemas import OpenRecord, PreprocessingRecord, check_record
from retinai.csv_cells import from_cell, to_cell
from retinai.errors import DataError, UserError
from retinai.files import atomic_path

SUFFIXES = (".npz", ".parquet")
_TEXTS = ("id", "path", "sha256")
# A file that unpacks to more than so many bytes, and to so many times its size, is a mistake or hostile.
_UNPACKED, _RATIO = 2**30, 20
_BLOCK = 4096  # rows that are in memory at once when a file is written


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of N photographs.

    Args:
        file: Where they were read.
        ids: N different names of photographs.
        paths: Their files, as they were when they were read.
        hashes: SHA-256 of their files.
        vectors: float32, shape (N, K).
        info: What they were computed with: backbone, weights, pooling, preprocessing, time, unreadable photographs.
    """

    file: Path
    ids: list[str]
    paths: list[str]
    hashes: list[str]
    vectors: NDArray[np.float32]
    info: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the file without its suffix."""
        return self.file.stem


def check_suffix(out: Path) -> None:
    """Refuse a file that is neither `.npz` nor `.parquet`.

    Raises:
        UserError: Says which are valid, or that pyarrow is missing.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"out={out} must be a .npz or a .parquet file")
    if out.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise UserError(f"out={out} needs pyarrow (pip install pyarrow); or choose a .npz file")


def write_embeddings(
    out: Path, vectors: NDArray[Any], rows: Sequence[int], texts: Mapping[str, Sequence[str]], info: Mapping[str, Any]
) -> None:
    """Write embeddings, whole or not at all.

    `.npz` holds `embedding` (N, K), `id`, `path`, `sha256` (N,) and `info` (JSON); a Parquet file the same columns,
    `embedding` as lists, with `info` in the metadata of the table under `retinai`.

    Args:
        out: The file.
        vectors: Shape (M, K), may be memory-mapped.
        rows: The N rows of `vectors` to write.
        texts: `id`, `path` and `sha256`, N each.
        info: What they were computed with; plain values.

    Raises:
        UserError: If it cannot be written.
    """
    blocks = (np.ascontiguousarray(vectors[rows[i : i + _BLOCK]]) for i in range(0, len(rows), _BLOCK))
    write = _write_npz if out.suffix.lower() == ".npz" else _write_parquet
    shape = (len(rows), vectors.shape[1])
    with atomic_path(out) as temporary:
        write(temporary, blocks, shape, vectors.dtype, texts, json.dumps(info))


def _write_npz(
    file: Path,
    blocks: Iterator[NDArray[Any]],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    texts: Mapping[str, Sequence[str]],
    info: str,
) -> None:
    small = {name: np.array(list(values), dtype=str) for name, values in texts.items()} | {"info": np.array(info)}
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("embedding.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            for block in blocks:
                member.write(block.tobytes())
        for name, values in small.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)


def _write_parquet(
    file: Path,
    blocks: Iterator[NDArray[Any]],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    texts: Mapping[str, Sequence[str]],
    info: str,
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = [pa.field(name, pa.string()) for name in texts]
    embedding = pa.field("embedding", pa.list_(pa.from_numpy_dtype(dtype), shape[1]))
    schema = pa.schema([*columns, embedding], metadata={"retinai": info})
    start = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for block in blocks:
            stop = start + len(block)
            parts = [pa.array([to_cell(text) for text in values[start:stop]]) for values in texts.values()]
            lists = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), shape[1])
            writer.write_table(pa.Table.from_arrays([*parts, lists], schema=schema))
            start = stop


def read_embeddings(file: str | Path) -> Embeddings:
    """Read a file of `retinai embed`.

    Args:
        file: A `.npz` or `.parquet` file.

    Raises:
        DataError: If it is missing, half a file, no file of embeddings, or holds what makes no sense; says why.
    """
    path = Path(str(file)).expanduser()
    if not path.is_file():
        raise DataError(f"embeddings={path} is no file; write one with `retinai embed ... out={path}`")
    try:
        parts = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_npz(path)
        ids, paths, hashes = (_texts(parts[name]) for name in _TEXTS)
        vectors = np.asarray(parts["embedding"])
        if vectors.dtype.kind != "f":
            raise TypeError(f"embedding holds {vectors.dtype}")
        vectors = vectors.astype(np.float32, copy=False)
        info = json.loads(str(parts["info"]))
    except KeyError as error:
        raise DataError(f"{path} is no file of embeddings: it has no {error}; write it with `retinai embed`") from error
    except PermissionError as error:
        raise DataError(f"embeddings={path} cannot be read: permission denied; mend that, or give a copy") from error
    except Exception as error:  # numpy, zipfile and Arrow raise nearly anything on a damaged file
        raise DataError(f"{path} is truncated or no file of embeddings; write it anew with `retinai embed`") from error
    found = Embeddings(path, ids, paths, hashes, vectors, _checked_info(path, info))
    _check(found)
    return found


def _texts(values: Any) -> list[str]:
    texts = list(values)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none")
    return [str(text) for text in texts]


class InfoRecord(OpenRecord):
    """What other commands read of `info`."""

    backbone: str
    weights: str = "none"
    pooling: str = ""
    preprocessing: PreprocessingRecord
    unreadable: dict[str, str] = Field(default_factory=dict)


def _checked_info(path: Path, info: Any) -> Mapping[str, Any]:
    """Return `info` once it is known to say what it should.

    Raises:
        DataError: Says what is wrong with it.
    """
    try:
        check_record(InfoRecord, info)
    except ValueError as error:
        raise DataError(
            f"{path} cannot be used: its info is damaged ({error}); write it anew with `retinai embed`"
        ) from error
    return dict(info)


def _read_npz(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(_UNPACKED, _RATIO * path.stat().st_size):
        raise ValueError(f"it would unpack to {unpacked} bytes")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in ("embedding", "info", *_TEXTS)}


def _read_parquet(path: Path) -> dict[str, Any]:
    from pyarrow import parquet

    table = parquet.read_table(path)
    if (missing := {*_TEXTS, "embedding"} - set(table.column_names)) or b"retinai" not in (table.schema.metadata or {}):
        raise KeyError(min(missing) if missing else "info")
    vectors = table["embedding"].combine_chunks()
    width = vectors.type.list_size
    return {
        **{name: [from_cell(text) for text in table[name].to_pylist()] for name in _TEXTS},
        "embedding": np.asarray(vectors.values).reshape(-1, width),
        "info": table.schema.metadata[b"retinai"].decode(),
    }


def _check(found: Embeddings) -> None:
    count = len(found.ids)
    told = ""
    if found.vectors.ndim != 2 or {count, len(found.paths), len(found.hashes)} != {len(found.vectors)}:
        told = "its columns are not of one length"
    elif not found.vectors.size:
        told = "it holds no photographs, or no numbers of them"
    elif len(set(found.ids)) < count:
        told = "an id stands there twice"
    elif not np.isfinite(found.vectors).all():
        told = "it holds numbers that are not finite"
    if told:
        raise DataError(f"{found.file} cannot be used: {told}; write it anew with `retinai embed`")
