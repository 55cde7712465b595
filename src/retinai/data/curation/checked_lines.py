"""A file of JSON lines that several jobs add to at once; each line carries a checksum, so that damage is seen.

A line is an object whose last key, `crc32`, is the CRC-32 of the bytes of the object without it. A killed
job loses at most the line that it was writing.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retinai.errors import UserError

try:
    import fcntl
except ImportError:  # no such locks on Windows; a line is still written in one piece
    fcntl = None  # type: ignore[assignment]

_KEY = b', "crc32": "'
_END = len(_KEY) + 8 + len(b'"}')


class DamagedLineError(ValueError):
    """A line that is torn, or was changed after it was written."""


def encode(values: Mapping[str, Any]) -> bytes:
    """Return an object as a line with its checksum, without line breaks.

    Args:
        values: What `json` can write, not empty.
    """
    body = json.dumps(values).encode()
    return body[:-1] + _KEY + f'{zlib.crc32(body):08x}"}}'.encode()


def decode(line: bytes) -> dict[str, Any]:
    """Return the object of a line of `encode`.

    Raises:
        DamagedLineError: If the line is not as it was written.
    """
    body, end = line[:-_END] + b"}", line[-_END:]
    if end != _KEY + f'{zlib.crc32(body):08x}"}}'.encode():
        raise DamagedLineError
    values: dict[str, Any] = json.loads(body)
    return values


@dataclass
class LineFile:
    """A file of lines that grows, read piece by piece.

    Args:
        path: The file; made when something is written.
        version: The `v` of the lines that are believed; lines of another version are passed over.

    Attributes:
        damaged: Where damaged lines stand that were met while reading: first byte and length.
    """

    path: Path
    version: int
    damaged: list[tuple[int, int]] = field(default_factory=list, init=False, repr=False)
    _read_to: int = field(default=0, init=False, repr=False)

    def read_new(self) -> Iterator[dict[str, Any]]:
        """Yield the objects of the lines that were added since the last reading, without their `v`.

        Raises:
            UserError: If what stands there is no file, or cannot be read.
        """
        text = self._read_whole_lines()
        place = self._read_to - len(text)
        for line in text.split(b"\n"):
            try:
                values = decode(line) if line.strip() else {}
            except DamagedLineError:
                if not self._is_other_version(line):
                    self.damaged.append((place, len(line)))
                values = {}
            place += len(line) + 1
            if values.pop("v", None) == self.version:
                yield values

    def append(self, values: Mapping[str, Any]) -> None:
        """Add a line at the end, whole or not at all.

        Raises:
            UserError: If the file cannot be written; it is then left as it was.
        """
        # It starts with a line break too: a line torn by a killed job then costs no other.
        text = b"\n" + encode({"v": self.version, **values}) + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as handle:
                _write_whole(handle.fileno(), text)
        except OSError as error:
            raise UserError(
                f"{self.path} could not be written ({error.strerror}); free some space or choose another place: "
                "paths.cache="
            ) from error

    def drop_damaged(self) -> int:
        """Blank the damaged lines out that were met, so that they are told once; return their number."""
        found, self.damaged = self.damaged, []
        try:
            if found:
                with _locked(self.path, os.O_RDWR) as handle:
                    for place, length in found:
                        self._blank(handle.fileno(), place, length)
        except OSError:
            pass  # a cache that may only be read: they are told again next time
        return len(found)

    def _blank(self, handle: int, place: int, length: int) -> None:
        """Put spaces over a line that is still damaged; every other line stays where it is."""
        os.lseek(handle, place, os.SEEK_SET)
        try:
            decode(os.read(handle, length))
        except DamagedLineError:
            os.lseek(handle, place, os.SEEK_SET)
            os.write(handle, b" " * length)

    def _read_whole_lines(self) -> bytes:
        try:
            state = os.stat(self.path)  # noqa: PTH116
            if not stat.S_ISREG(state.st_mode):
                raise UserError(f"{self.path} is no file; remove it, or choose another folder: paths.cache=")
            if state.st_size < self._read_to:
                self._read_to = 0  # somebody began it anew
            with self.path.open("rb") as handle:
                handle.seek(self._read_to)
                text = handle.read()
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be read ({error.strerror}); mend it, or choose another folder: paths.cache="
            ) from error
        whole = text.rfind(b"\n") + 1
        self._read_to += whole
        return text[:whole]

    def _is_other_version(self, line: bytes) -> bool:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            return False
        return isinstance(values, dict) and isinstance(values.get("v"), int) and values["v"] != self.version


def _locked(path: Path, flags: int) -> Any:
    """Return the opened file, which no other job writes to until it is closed."""
    stream = os.fdopen(os.open(path, flags, 0o666), "r+b" if flags & os.O_RDWR else "ab", buffering=0)
    if fcntl is not None:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
    return stream


def _write_whole(handle: int, text: bytes) -> None:
    end = os.fstat(handle).st_size
    try:
        if os.write(handle, text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(handle, end)
        raise
