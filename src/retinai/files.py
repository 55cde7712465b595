"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_FULL = (errno.ENOSPC, errno.EDQUOT)


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
