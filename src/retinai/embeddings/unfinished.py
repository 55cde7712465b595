"""Embeddings that are being computed: a folder beside the file to come, from which a killed command goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.errors import UserError
from retinai.files import (
    MAX_TEXT_BYTES,
    UNWRITABLE,
    UnreadableError,
    no_room,
    read_json,
    read_regular,
    told,
    write_json,
)
from retinai.run.lock import LOCK, held

_PLAN, _VECTORS, _ROWS = "plan.json", "embedding.npy", "rows.jsonl"


class PartialEmbeddings:
    """The folder `<out>.partial`: vectors in a memory-mapped array, and a line for each photograph that is done.

    A line is written after its vector, so that whatever a killed process left is whole up to its last line.

    Args:
        out: The file to come.
        plan: What is computed, plain values; a folder of another plan is not gone on with.
        count: Number of photographs N.
        width: Numbers per photograph K.
        dtype: `float16` or `float32`.

    Attributes:
        done: Row -> what is known of it: `sha256`, or `error` where it could not be read.
        resumed: Whether some rows were there already.
        replaced: Whether a folder of another plan was there, which is now gone.

    Raises:
        UserError: If the disk is full, the place cannot be written, another process computes the same file, or what a
            killed one left is damaged.
    """

    def __init__(self, out: Path, plan: Mapping[str, Any], count: int, width: int, dtype: str) -> None:
        self.folder = out.with_name(f"{out.name}.partial")
        self.done: dict[int, dict[str, str]] = {}
        self.replaced = False
        self._open = ExitStack()
        is_new = not self.folder.exists()
        try:
            self._take(dict(plan), (count, width), np.dtype(dtype))
        except OSError as error:
            self.close()
            if is_new:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise _unwritable(self.folder, error) from error
        except BaseException:
            self.close()
            raise
        self.resumed = bool(self.done)

    def _take(self, plan: dict[str, Any], shape: tuple[int, int], kind: np.dtype[Any]) -> None:
        """Hold the folder, and go on with what is there or begin anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._open.enter_context(held(self.folder, "retinai embed", "out"))
        files = [path for path in self.folder.iterdir() if path.name != LOCK]
        if self._plan() != plan:
            self.replaced = bool(files)
            for path in files:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            _make_vectors(self.folder / _VECTORS, shape, kind)
            (self.folder / _ROWS).touch()
            write_json(self.folder / _PLAN, plan)
        self.vectors = _open_vectors(self.folder, shape, kind)
        self.done = _read_rows(self.folder, shape[0])
        self._lines = self._open.enter_context((self.folder / _ROWS).open("a", encoding="utf-8"))

    def add(self, rows: Sequence[int], vectors: NDArray[np.float32], hashes: Sequence[str]) -> None:
        """Keep the embeddings of some photographs.

        Args:
            rows: Their numbers.
            vectors: Shape (B, K).
            hashes: SHA-256 of their files.

        Raises:
            UserError: If a number is too large for the type, or the disk is full.
        """
        with np.errstate(over="ignore"):
            narrow = vectors.astype(self.vectors.dtype)
        if not np.isfinite(narrow).all():
            raise UserError(f"an embedding holds numbers too large for {self.vectors.dtype}; use dtype=float32")
        self.vectors[list(rows)] = narrow
        self.vectors.flush()
        self._write([{"row": row, "sha256": digest} for row, digest in zip(rows, hashes, strict=True)])

    def add_unreadable(self, row: int, reason: str) -> None:
        """Keep why a photograph could not be read."""
        self._write([{"row": row, "error": reason}])

    def close(self) -> None:
        """Close the files and let go of the folder, which stays."""
        self._open.close()

    def remove(self) -> None:
        """Remove the folder, once the file is written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def _write(self, lines: list[dict[str, Any]]) -> None:
        try:
            self._lines.write("".join(json.dumps(line) + "\n" for line in lines))
            self._lines.flush()
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        self.done |= {line.pop("row"): line for line in lines}

    def _plan(self) -> dict[str, Any] | None:
        """Return the plan of the folder that is there; None if it cannot be read."""
        try:
            return read_json(self.folder / _PLAN)
        except UserError:
            return None


def _make_vectors(file: Path, shape: tuple[int, int], kind: np.dtype[Any]) -> None:
    """Make the array, with its room on the disk: to write to a mapped file that has none ends the process."""
    np.lib.format.open_memmap(file, "w+", kind, shape).flush()
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)


def _open_vectors(folder: Path, shape: tuple[int, int], kind: np.dtype[Any]) -> np.memmap[Any, np.dtype[Any]]:
    """Open the array that is there.

    Raises:
        UserError: If it is not as it was made.
    """
    file = folder / _VECTORS
    if not file.is_file():
        raise _damaged(folder)
    size = file.stat().st_size  # numpy makes a file that was cut as long as it should be, with zeros
    try:
        vectors = np.lib.format.open_memmap(file, "r+")
    except (ValueError, TypeError, SyntaxError) as error:  # numpy's, of headers and lengths that cannot be
        raise _damaged(folder) from error
    if vectors.shape != shape or vectors.dtype != kind or size != vectors.offset + vectors.nbytes:
        raise _damaged(folder)
    return vectors


def _read_rows(folder: Path, count: int) -> dict[int, dict[str, str]]:
    """Return what is done; a last line that was cut off is dropped.

    Raises:
        UserError: If a line says something else than what is known of a row.
    """
    file = folder / _ROWS
    try:
        text = read_regular(file, MAX_TEXT_BYTES)
        whole = text[: text.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
    except (UnreadableError, ValueError, RecursionError) as error:
        raise _damaged(folder) from error
    if len(whole) < len(text):
        file.write_bytes(whole)
    if not all(_is_row(line, count) for line in lines):
        raise _damaged(folder)
    return {line.pop("row"): line for line in lines}


def _is_row(line: Any, count: int) -> bool:
    """Return whether a line tells of one row either its hash or why it could not be read."""
    if not isinstance(line, dict) or type(line.get("row")) is not int or not 0 <= line["row"] < count:
        return False
    known = set(line) - {"row"}
    return known in ({"sha256"}, {"error"}) and isinstance(line[known.pop()], str)


def _damaged(folder: Path) -> UserError:
    return UserError(f"{folder} is damaged; remove it and run the command again")


def _unwritable(folder: Path, error: OSError) -> Exception:
    if lack := no_room(error):
        return UserError(f"{lack[0]}: {folder} could not be written; {lack[1]} or choose another out=")
    if error.errno in UNWRITABLE:
        return UserError(f"{folder} cannot be written: {told(error)}; choose another out=")
    return error
