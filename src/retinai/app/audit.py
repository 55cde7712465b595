"""The record of what was graded: an SQLite file with a row per photograph, and no photograph in it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from retinai import __version__
from retinai.app.results import EyeResult
from retinai.errors import UserError
from retinai.files import told
from retinai.output_folders import check_folder

_TABLE = """
CREATE TABLE IF NOT EXISTS gradings (
    id INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    operator TEXT NOT NULL,
    origin TEXT NOT NULL,
    eye TEXT NOT NULL,
    photograph_sha256 TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    output TEXT NOT NULL,
    milliseconds INTEGER NOT NULL,
    retinai TEXT NOT NULL
)
"""
_ROW = (
    "INSERT INTO gradings (time, operator, origin, eye, photograph_sha256, model_sha256, output, milliseconds, retinai)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LONGEST_NAME = 100


class AuditLog:
    """Appends a row per photograph; several threads and processes may write to one file.

    Args:
        file: The SQLite file; made where it is not there.
        photographs: A folder that keeps each photograph under its SHA-256; None keeps none.

    Raises:
        UserError: If the file is no such record, or file or folder cannot be written.
    """

    def __init__(self, file: Path, photographs: Path | None = None) -> None:
        self.file = file
        self.photographs = photographs
        if photographs is not None:
            check_folder(photographs, "keep_photographs")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if photographs is not None:
                photographs.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as connection, connection:
                connection.execute(_TABLE)
            file.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"audit={file} cannot be used as a record ({_why(error)}); name another file, or audit=null for none"
            ) from error

    def write(self, result: EyeResult, model: str, operator: str, origin: str, data: bytes) -> None:
        """Append what was found of a photograph.

        Args:
            result: What was found.
            model: SHA-256 of the model.
            operator: Who asked.
            origin: `page` or `api`.
            data: The photograph's file, which is kept only where a folder was named for it.

        Raises:
            UserError: If it cannot be written.
        """
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        output = json.dumps(result.output(), ensure_ascii=False, sort_keys=True)
        row = (now, operator[:_LONGEST_NAME], origin, result.eye, result.photograph, model, output,
               result.milliseconds, __version__)  # fmt: skip
        try:
            if self.photographs is not None:
                (self.photographs / result.photograph).write_bytes(data)
            with closing(self._open()) as connection, connection:
                connection.execute(_ROW, row)
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"the record {self.file} cannot be written ({_why(error)}), so nothing is graded"
            ) from error

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, timeout=10)


def _why(error: sqlite3.Error | OSError) -> str:
    return told(error) if isinstance(error, OSError) else str(error)
