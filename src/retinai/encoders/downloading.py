"""A file of the web, received with progress and gone on with after a stop."""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from retinai.errors import UserError
from retinai.files import UNWRITABLE, no_room, told

_SECONDS = 30.0  # without a byte after which a connection is given up
_BLOCK = 2**20


def download(
    address: str, file: Path, headers: Mapping[str, str] | None = None, anew: bool = False, called: str = ""
) -> None:
    """Download a file; a part that is there is gone on with, and the file appears when it is whole.

    Args:
        address: http or https.
        file: Where to.
        headers: Of the request, such as a token.
        anew: Forget the part that is there.
        called: What it is, for errors; the address where nothing is given.

    Raises:
        UserError: If the address does not answer, ends early, or the place cannot be written; what came stays.
    """
    if not address.startswith(("https://", "http://")):
        raise UserError(f"{address} is no address of the web")
    partial, what = file.with_name(f"{file.name}.partial"), called or address
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if anew:
            partial.unlink(missing_ok=True)
        _receive(address, partial, headers or {}, file.name)
        partial.replace(file)
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{called or address} answers {error.code} ({error.reason}); look whether it has moved"
        ) from error
    except (urllib.error.URLError, TimeoutError, http.client.HTTPException, ConnectionError) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise UserError(
            f"{what} cannot be reached ({reason}); run the command again to go on, or get the file on another "
            "machine and give backbone.weights=FILE"
        ) from error
    except OSError as error:
        if no_room(error) or error.errno in UNWRITABLE:
            raise UserError(f"{partial} cannot be written: {told(error)}; choose another out=") from error
        raise


def _receive(address: str, partial: Path, headers: Mapping[str, str], title: str) -> None:
    there = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={**headers, **({"Range": f"bytes={there}-"} if there else {})})
    try:
        answer = urllib.request.urlopen(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not there:
            raise
        if _length_of_range(error.headers.get("Content-Range")) == there:
            return  # it was whole already
        partial.unlink()  # another file than before
        return _receive(address, partial, headers, title)
    with answer:
        there = there if answer.status == 206 else 0  # a server that knows no ranges begins anew
        left = answer.headers.get("Content-Length")
        total = None if left is None else there + int(left)
        with partial.open("ab" if there else "wb") as out, _bar(title, total, there) as advance:
            while block := answer.read(_BLOCK):
                out.write(block)
                advance(len(block))
            out.flush()
            os.fsync(out.fileno())
    if total is not None and partial.stat().st_size < total:
        raise http.client.IncompleteRead(b"", total - partial.stat().st_size)


def _length_of_range(header: str | None) -> int | None:
    """Return the length of a file from `bytes */LENGTH`."""
    found = re.fullmatch(r"bytes \*/(\d+)", header or "")
    return int(found[1]) if found else None


@contextmanager
def _bar(title: str, total: int | None, done: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar of bytes on a terminal; yields what moves it on."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, completed=done)
        yield lambda count: progress.advance(task, count)
