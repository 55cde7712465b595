"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Text of a table or of JSON lines that is larger than this is a mistake: it is read into memory as a whole.
MAX_TEXT_BYTES = 2**30
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class UnreadableError(Exception):
    """A file whose bytes cannot be had.

    Args:
        reason: Why, in one short clause, such as `no such file`; it does not name the file.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def read_regular(path: str | Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file; pipes and devices, which may never end, are refused without being read.

    Links are followed.

    Args:
        path: The file.
        max_bytes: Size above which the file is refused.

    Raises:
        UnreadableError: If the file is missing, not a regular file, larger than `max_bytes`, or cannot be read.
    """
    try:
        _check_regular(os.stat(path), max_bytes)  # noqa: PTH116 (before it is opened: that alone can wake a device)
        # Another file may have come to its place since: opening never waits for a pipe, and it is looked at again.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as stream:
            _check_regular(os.fstat(handle), max_bytes)
            data = stream.read(max_bytes + 1)
    except FileNotFoundError:
        raise UnreadableError("no such file") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror})") from error
    except ValueError as error:  # a zero byte, or a character that the file system has no bytes for
        raise UnreadableError("no such file: its name is one that no file can have") from error
    if len(data) > max_bytes:  # it grew, or its system tells no size
        raise UnreadableError(_too_large(max_bytes))
    return data


def _check_regular(state: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(state.st_mode):
        kind = next((name for test, name in _KINDS if test(state.st_mode)), "something else")
        raise UnreadableError(f"{kind}, not a file")
    if state.st_size > max_bytes:
        raise UnreadableError(_too_large(max_bytes))


def _too_large(max_bytes: int) -> str:
    return f"larger than {max_bytes / 2**20:,.0f} MiB"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` in one step.

    The temporary name holds host and process id, so that two jobs that write the same file at once,
    also from two machines on one shared disk, do not disturb each other: the last one to finish
    wins, and a reader sees one whole file or the other. On any error the temporary file is removed
    and `path` is left as it was.

    Args:
        path: The file to write; its folder is made if it is missing.

    Yields:
        The temporary path, with the suffix of `path`, not yet existing.

    Raises:
        UserError: If the disk or the quota is full; names the file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{socket.gethostname()}-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"the disk is full: {path} could not be written; free some space or choose another place "
                "(run_dir=, paths.outputs=, paths.cache=)"
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file (UTF-8) whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file (indented, NaN refused) whole or not at all."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV without its index, whole or not at all."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
