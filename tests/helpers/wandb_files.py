"""What stands in the files that Weights & Biases writes offline: records in the log format of LevelDB."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_HEADER, _BLOCK, _PIECE = 7, 32768, 7


@dataclass
class OfflineRun:
    """One `.wandb` file.

    Attributes:
        id, group, job, name: What W&B calls the run.
        config: Its configuration.
        summary: The figures of its summary.
        history: The rows that were logged.
        used, made: Names of the artifacts that it began with and that it made.
    """

    id: str = ""
    group: str = ""
    job: str = ""
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)


def offline_runs(folder: Path) -> list[OfflineRun]:
    """Return the runs whose files lie anywhere below a folder, oldest first."""
    return [_read(path) for path in sorted(folder.rglob("*.wandb"), key=lambda path: path.stat().st_mtime_ns)]


def _read(path: Path) -> OfflineRun:
    run = OfflineRun()
    for record in map(Record.FromString, _records(path.read_bytes())):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.group, run.job = record.run.run_id, record.run.run_group, record.run.job_type
            run.name = record.run.display_name
            run.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "summary":
            run.summary |= _items(record.summary.update)
        elif kind == "history":
            run.history.append(_items(record.history.item))
        elif kind == "artifact" and not record.artifact.name.startswith("run-"):  # W&B itself makes one of each table
            (run.used if record.artifact.use_after_commit else run.made).append(record.artifact.name)
    return run


def _items(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _records(content: bytes) -> Iterator[bytes]:
    """Yield whole records; a long one stands in several pieces, and none crosses the border of a block."""
    place, parts = _HEADER, b""
    while place + _PIECE <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _PIECE:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        if kind == 0:  # the rest of a block that was not filled
            place += left
            continue
        parts += content[place + _PIECE : place + _PIECE + length]
        place += _PIECE + length
        if kind in (1, 4):  # whole, or the last piece
            yield parts
            parts = b""
