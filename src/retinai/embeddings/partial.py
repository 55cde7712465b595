"""Embeddings that are being computed: a folder beside the file to come, from which a killed command goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinai.errors import UserError
from retinai.files import UNWRITABLE, no_room, told, write_json

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
        UserError: If the disk is full or the place cannot be written.
    """

    def __init__(self, out: Path, plan: Mapping[str, Any], count: int, width: int, dtype: str) -> None:
        self.folder = out.with_name(f"{out.name}.partial")
        self.done: dict[int, dict[str, str]] = {}
        shape, kind = (count, width), np.dtype(dtype)
        there = self.folder.is_dir()
        go_on = there and self._plan() == dict(plan)
        self.replaced = there and not go_on
        try:
            if not go_on:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True)
                np.lib.format.open_memmap(self.folder / _VECTORS, "w+", kind, shape).flush()
                (self.folder / _ROWS).touch()
                write_json(self.folder / _PLAN, dict(plan))
            self.vectors: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(self.folder / _VECTORS, "r+")
            self._read_rows(count)
            self._lines = (self.folder / _ROWS).open("a", encoding="utf-8")
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        if self.vectors.shape != shape or self.vectors.dtype != kind:
            raise UserError(f"{self.folder} is damaged; remove it and run the command again")
        self.resumed = bool(self.done)

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
        """Close the files; the folder stays."""
        self._lines.close()

    def remove(self) -> None:
        """Remove the folder, once the file is written."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

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
            return dict(json.loads((self.folder / _PLAN).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _read_rows(self, count: int) -> None:
        """Read what is done; a last line that was cut off is dropped."""
        file = self.folder / _ROWS
        text = file.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            file.write_bytes(whole)
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
            self.done = {int(line.pop("row")): line for line in lines}
        except (ValueError, KeyError, AttributeError) as error:
            raise UserError(f"{self.folder} is damaged; remove it and run the command again") from error
        if self.done and not 0 <= min(self.done) <= max(self.done) < count:
            raise UserError(f"{self.folder} is damaged; remove it and run the command again")


def _unwritable(folder: Path, error: OSError) -> Exception:
    if lack := no_room(error):
        return UserError(f"{lack[0]}: {folder} could not be written; {lack[1]} or choose another out=")
    if error.errno in UNWRITABLE:
        return UserError(f"{folder} cannot be written: {told(error)}; choose another out=")
    return error
